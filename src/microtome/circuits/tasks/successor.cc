// Successors: three of an ordered class, and the next is wanted. The corrupted side stands elsewhere in the class; wrong answers
// are all its other members, and the best of them counts.
#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/ordered_class.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

// The class's members as single tokens after a space; empty if one of them is not.
std::vector<std::string> members_of(const TaskSource& source, const OrderedClass& c) {
  std::vector<std::string> out;
  for (const char* m : c.members) {
    out.push_back(std::string(" ") + m);
    if (!single_token(source, out.back())) return {};
  }
  return out;
}

std::vector<Piece> sequence(const std::vector<std::string>& m, size_t start) {
  const auto at = [&](size_t k) { return m[(start + k) % m.size()]; };
  return fill("{FIRST},{SECOND},{THIRD},", {{"FIRST", {at(0).substr(1), ""}}, {"SECOND", {at(1), ""}}, {"THIRD", {at(2), ""}}});
}

}  // namespace

std::vector<TaskExample> make_successor(const TaskSource& source, int64_t n, uint64_t seed) {
  need_tokenizer(source, "successor");
  struct Usable {
    const OrderedClass* kind;
    std::vector<std::string> members;
  };
  std::vector<Usable> usable;
  for (const OrderedClass& c : ordered_classes())
    if (auto m = c.in_a_list ? members_of(source, c) : std::vector<std::string>(); !m.empty())
      usable.push_back({&c, std::move(m)});
  if (usable.empty()) single_words(source, ordered_classes()[0].members, ordered_classes()[0].members.size(), "successor");
  const Philox rng(seed, "task.successor");
  std::vector<TaskExample> out;
  for (uint64_t i = 0; std::ssize(out) < n; ++i) {
    if (i > 1000 + 100 * static_cast<uint64_t>(n))
      throw Error(ErrorKind::kUnsupported, "task successor: this model's tokenizer cuts no two such sequences alike");
    const Usable& u = usable[i % usable.size()];
    const size_t starts = u.kind->cyclic ? u.members.size() : u.members.size() - 3;
    const size_t start = rng.below(starts, i, 0), other = (start + 1 + rng.below(starts - 1, i, 1)) % starts;
    auto e = make_pair(source, sequence(u.members, start), sequence(u.members, other));
    if (!e) continue;
    const size_t next = (start + 3) % u.members.size();
    for (size_t k = 0; k < u.members.size(); ++k)
      (k == next ? e->example.answers : e->example.wrong).push_back(*single_token(source, u.members[k]));
    e->example.best_wrong = true;
    e->group = u.kind->name;
    out.push_back(std::move(*e));
  }
  return out;
}

}  // namespace microtome
