// Indirect object identification (Wang et al. 2022): the name that was said once is the answer. The corrupted side repeats the
// other name, so that only S2 differs. The first eight prompts are the specification's fixture IOI-8.
#include <array>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr const char* kTemplates[] = {
    "When{A} and{B} went to the shops,{S2} gave the bag to", "When{A} and{B} went to the park,{S2} gave the ball to",
    "When{A} and{B} went to the shops,{S2} gave an apple to", "After{A} and{B} went to the park,{S2} gave a drink to"};
constexpr size_t kTemplateCount = std::size(kTemplates);

struct Names {
  std::string a, b;
  bool second_first;  // the first of the two prompts repeats b
};

// Of IOI-8, one pair of prompts for each template.
const std::array<Names, kTemplateCount>& own_names() {
  static const std::array<Names, kTemplateCount> names{
      {{" John", " Mary", false}, {" Tom", " James", true}, {" Dan", " Sid", true}, {" Martin", " Amy", true}}};
  return names;
}

constexpr const char* kNames[] = {
    "John",   "Mary",    "Tom",    "James",   "Dan",     "Sid",   "Martin", "Amy",    "Michael", "Robert",  "David", "Richard",
    "Joseph", "Thomas",  "Daniel", "Matthew", "Anthony", "Mark",  "Paul",   "Steven", "Andrew",  "George",  "Kevin", "Brian",
    "Edward", "Ryan",    "Jacob",  "Eric",    "Adam",    "Peter", "Henry",  "Jack",   "Simon",   "Charles", "Frank", "Jason",
    "Susan",  "Jessica", "Sarah",  "Karen",   "Lisa",    "Nancy", "Sandra", "Ashley", "Emily",   "Kate",    "Laura", "Rachel",
    "Anna",   "Emma",    "Alice",  "Julia",   "Maria",   "Rose",  "Grace",  "Sara",   "Jane",    "Linda",   "Helen", "Lucy"};

// `first`: the clean side repeats the first name.
std::vector<Piece> sentence(size_t which, const std::string& a, const std::string& b, const std::string& s, bool first) {
  return fill(kTemplates[which], {{"A", {a, first ? "S1" : "IO"}}, {"B", {b, first ? "IO" : "S1"}}, {"S2", {s, "S2"}}});
}

// Three names of the list that are not in the prompt, chosen by the prompt's number.
std::vector<int32_t> unrelated(const TaskSource& source, const std::vector<std::string>& names, size_t which, const Names& used,
                               uint64_t seed, uint64_t index) {
  std::vector<std::string> other;
  for (const size_t i : shuffled(names.size(), seed, "task.ioi.control", index))
    if (names[i] != used.a && names[i] != used.b) other.push_back(names[i]);
  return make_prompt(source, sentence(which, other.at(0), other.at(1), other.at(2), true)).ids;
}

bool single(const TaskSource& source, const Names& names) {
  return single_token(source, names.a) && single_token(source, names.b);
}

}  // namespace

std::vector<TaskExample> make_ioi(const TaskSource& source, int64_t n, uint64_t seed) {
  const std::vector<std::string> names = single_words(source, kNames, 8, "ioi");
  std::vector<TaskExample> out;
  for (int64_t i = 0; i < n; ++i) {
    const auto pair = static_cast<size_t>(i / 2), which = pair % kTemplateCount;
    Names chosen = pair < kTemplateCount ? own_names()[which] : Names();
    if (pair >= kTemplateCount || !single(source, chosen)) {
      const std::vector<size_t> order = shuffled(names.size(), seed, "task.ioi", pair);
      chosen = {names[order[0]], names[order[1]], Philox(seed, "task.ioi.order").below(2, pair) == 1};
    }
    const bool second = chosen.second_first == (i % 2 == 0);
    const std::string& s = second ? chosen.b : chosen.a;
    const std::string& io = second ? chosen.a : chosen.b;
    auto example =
        make_pair(source, sentence(which, chosen.a, chosen.b, s, !second), sentence(which, chosen.a, chosen.b, io, !second));
    if (!example)
      throw Error(ErrorKind::kUnsupported,
                  "task ioi: this model's tokenizer does not cut \"{}\" and its other version alike, or its context is too short",
                  kTemplates[which]);
    example->example.answers = {*single_token(source, io)};
    example->example.wrong = {*single_token(source, s)};
    example->group = kTemplates[which];
    example->control = unrelated(source, names, which, chosen, seed, static_cast<uint64_t>(i));
    out.push_back(std::move(*example));
  }
  return out;
}

}  // namespace microtome
