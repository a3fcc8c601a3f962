#include "microtome/circuits/example.h"

#include "microtome/base/error.h"

namespace microtome {
namespace {

void check_ids(const std::vector<int32_t>& ids, const char* what, const Config& config) {
  for (const int32_t id : ids)
    if (id < 0 || id >= config.vocab)
      throw Error(ErrorKind::kInvalidArgument, "{}: token id {} is outside of the vocabulary of {}", what, id, config.vocab);
}

}  // namespace

void check_example(const Example& e, const Config& config) {
  if (e.clean.empty() || e.corrupted.empty())
    throw Error(ErrorKind::kInvalidArgument, "the {} prompt is empty; give at least one token",
                e.clean.empty() ? "clean" : "corrupted");
  if (e.clean.size() != e.corrupted.size())
    throw Error(ErrorKind::kInvalidArgument,
                "the clean prompt has {} tokens and the corrupted one {}; patching needs equally many: choose words of as many "
                "tokens (`microtome tokenize` shows them)",
                e.clean.size(), e.corrupted.size());
  check_ids(e.clean, "clean prompt", config);
  check_ids(e.corrupted, "corrupted prompt", config);
  check_ids(e.answers, "answer", config);
  check_ids(e.wrong, "wrong answer", config);
  for (const auto& [role, position] : e.positions)
    if (position < 0 || position >= e.length())
      throw Error(ErrorKind::kInvalidArgument, "position {} of role \"{}\" is outside of a prompt of {} tokens", position,
                  printable(role), e.length());
}

}  // namespace microtome
