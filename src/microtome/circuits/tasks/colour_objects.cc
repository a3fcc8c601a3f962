// Coloured objects (after BIG-bench's task of that name): three things on a table, the colour of one is asked for. The corrupted
// side asks for another. Small models fail at it: it is here as the case that is warned about.
#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr const char* kTemplate =
    "Q: On the table, there is a{C0}{O0}, a{C1}{O1}, and a{C2}{O2}. What color is the{ASKED}?\nA: The{ASKED2} is";
constexpr const char* kColours[] = {"red", "blue", "green", "yellow", "black", "white", "pink", "brown", "purple", "gray"};
constexpr const char* kThings[] = {"pen",  "cup",   "book", "ball", "pencil", "box",    "bag",    "hat",   "shirt",
                                   "ring", "plate", "bowl", "key",  "phone",  "bottle", "candle", "clock", "basket"};

}  // namespace

std::vector<TaskExample> make_colour_objects(const TaskSource& source, int64_t n, uint64_t seed) {
  const std::vector<std::string> colours = single_words(source, kColours, 4, "colour-objects");
  const std::vector<std::string> things = single_words(source, kThings, 4, "colour-objects");
  const Philox rng(seed, "task.colour-objects.asked");
  std::vector<TaskExample> out;
  for (uint64_t i = 0; std::ssize(out) < n; ++i) {
    if (i > 100 + 10 * static_cast<uint64_t>(n))
      throw Error(ErrorKind::kUnsupported, "task colour-objects: this model's tokenizer does not cut two such questions alike");
    const std::vector<size_t> c = shuffled(colours.size(), seed, "task.colour-objects.colours", i);
    const std::vector<size_t> o = shuffled(things.size(), seed, "task.colour-objects.things", i);
    const size_t asked = rng.below(3, i, 0), other = (asked + 1 + rng.below(2, i, 1)) % 3;
    const auto question = [&](size_t which) {
      std::map<std::string, Piece, std::less<>> fields{{"ASKED", {things[o[which]], ""}}, {"ASKED2", {things[o[which]], ""}}};
      for (size_t k = 0; k < 3; ++k) {
        fields["C" + std::to_string(k)] = {colours[c[k]], ""};
        fields["O" + std::to_string(k)] = {things[o[k]], ""};
      }
      return fill(kTemplate, fields);
    };
    auto e = make_pair(source, question(asked), question(other));
    if (!e) continue;
    for (size_t k = 0; k < 3; ++k)
      (k == asked ? e->example.answers : e->example.wrong).push_back(*single_token(source, colours[c[k]]));
    e->example.best_wrong = true;
    e->group = "colour-objects";
    out.push_back(std::move(*e));
  }
  return out;
}

}  // namespace microtome
