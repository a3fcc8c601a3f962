#include "microtome/model/loss.h"

#include "microtome/base/error.h"

namespace microtome {

std::vector<int32_t> next_tokens(const Batch& batch) {
  std::vector<int32_t> targets(batch.rows(), -1);
  for (const Sequence& s : batch.sequences)
    for (int64_t r = s.row_begin; r + 1 < s.row_end; ++r) targets[r] = batch.tokens[r + 1];
  return targets;
}

std::vector<double> row_losses(const Model& model, const Tensor& logits, const std::vector<int32_t>& targets) {
  std::vector<double> losses(targets.size());
  MT_CHECK_EQ(logits.size(0), std::ssize(targets));
  model.context().kernels.cross_entropy(std::ssize(targets), logits.size(1), logits.f32(), targets.data(), losses.data(),
                                        nullptr);
  return losses;
}

double next_token_loss(const Model& model, const Batch& batch, const Forward& result, Tape* tape) {
  const std::vector<int32_t> targets = next_tokens(batch);
  const Tensor& logits = result.logits.data;
  MT_CHECK_EQ(logits.size(0), batch.rows());
  const int64_t rows = batch.rows(), vocab = logits.size(1);
  std::vector<double> losses(rows), lse(rows);
  const OpContext ctx = model.context();
  ctx.kernels.cross_entropy(rows, vocab, logits.f32(), targets.data(), losses.data(), lse.data());
  double sum = 0;
  int64_t n = 0;
  for (int64_t r = 0; r < rows; ++r) {
    sum += losses[r];
    n += targets[r] >= 0;
  }
  if (n == 0) throw Error(ErrorKind::kInvalidArgument, "a loss needs at least two tokens in one prompt");
  if (tape && result.logits.node >= 0) {
    Tensor seed = Tensor::empty(logits.shape(), ctx.arena);
    const std::vector<float> weights(rows, static_cast<float>(1.0 / static_cast<double>(n)));
    ctx.kernels.cross_entropy_backward(rows, vocab, logits.f32(), targets.data(), weights.data(), lse.data(), seed.f32());
    tape->backward(result.logits, seed);
  }
  return sum / static_cast<double>(n);
}

}  // namespace microtome
