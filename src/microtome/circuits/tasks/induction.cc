// Induction: random tokens said twice; the loss of the second half falls where the model looks up what followed the first time.
// The corrupted side has other tokens in its first half, so that its second half repeats nothing.
#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/tasks/all.h"
#include "microtome/circuits/tasks/prompt.h"

namespace microtome {
namespace {

constexpr int64_t kHalf = 30;

bool ordinary(const TaskSource& source, int32_t id) {
  if (!source.tokenizer) return true;
  return id < source.tokenizer->vocab_size() && !source.tokenizer->is_special(id) && !source.tokenizer->token_bytes(id).empty();
}

}  // namespace

std::vector<TaskExample> make_induction(const TaskSource& source, int64_t n, uint64_t seed) {
  const Philox rng(seed, "task.induction");
  const Tokenizer* tokenizer = source.tokenizer;
  const bool bos = tokenizer && tokenizer->bos() && source.bos.value_or(tokenizer->adds_bos());
  const int64_t half = std::min(kHalf, (source.config.context - (bos ? 1 : 0)) / 2);
  if (half < 3 || source.config.vocab < 8)
    throw Error(ErrorKind::kUnsupported, "task induction: a context of {} tokens and a vocabulary of {} leave no room for it",
                source.config.context, source.config.vocab);
  std::vector<TaskExample> out;
  for (int64_t i = 0; i < n; ++i) {
    uint64_t drawn = 0;
    const auto draw = [&](std::vector<int32_t>& ids) {
      for (int tries = 0; tries < 1000; ++tries) {
        const auto id = static_cast<int32_t>(rng.below(static_cast<uint64_t>(source.config.vocab), i, drawn++));
        if (!ordinary(source, id)) continue;
        ids.push_back(id);
        return;
      }
      throw Error(ErrorKind::kUnsupported, "task induction: next to no token of this vocabulary is an ordinary one");
    };
    std::vector<int32_t> once, other;
    for (int64_t k = 0; k < half; ++k) draw(once);
    for (int64_t k = 0; k < half; ++k) draw(other);
    TaskExample e;
    if (bos) e.example.clean = e.example.corrupted = {*tokenizer->bos()};
    const auto append = [](std::vector<int32_t>& to, const std::vector<int32_t>& ids) {
      to.insert(to.end(), ids.begin(), ids.end());
    };
    append(e.example.clean, once);
    append(e.example.clean, once);
    append(e.example.corrupted, other);
    append(e.example.corrupted, once);
    const auto start = static_cast<int>(half + (bos ? 1 : 0));
    e.example.loss_from = start;
    e.example.positions = {{"SECOND", start}, {"END", start + static_cast<int>(half) - 1}};
    e.group = "induction";
    out.push_back(std::move(e));
  }
  return out;
}

}  // namespace microtome
