#include "microtome/circuits/neurons/predictions.h"

#include <algorithm>
#include <cmath>

namespace microtome {

std::vector<TokenPrediction> predict(const OpContext& ctx, const Tensor& logits, std::span<const int32_t> tokens) {
  const int64_t rows = logits.size(0), vocab = logits.size(1);
  MT_CHECK_EQ(rows, std::ssize(tokens));
  std::vector<double> log_sum(rows);
  ctx.kernels.log_sum_exp(rows, vocab, logits.f32(), log_sum.data());
  std::vector<TokenPrediction> out(rows);
  for (int64_t r = 0; r < rows; ++r) {
    const float* x = logits.f32() + r * vocab;
    out[r] = {std::exp(x[tokens[r]] - log_sum[r]), log_sum[r], static_cast<int32_t>(std::max_element(x, x + vocab) - x)};
  }
  return out;
}

std::vector<int32_t> forced_tokens(const FactPrompt& prompt) {
  std::vector<int32_t> ids = prompt.ids;
  ids.insert(ids.end(), prompt.answer.begin(), prompt.answer.end() - 1);
  return ids;
}

Tensor copied_rows(const Tensor& x, std::span<const int32_t> rows) {
  const int64_t width = x.row_size();
  Tensor out = Tensor::empty({std::ssize(rows), width});
  for (size_t i = 0; i < rows.size(); ++i)
    std::copy_n(std::as_const(x).f32() + rows[i] * width, width, out.f32() + static_cast<int64_t>(i) * width);
  return out;
}

}  // namespace microtome
