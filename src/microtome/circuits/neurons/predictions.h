// What rows of logits say about given tokens. Pure functions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "microtome/circuits/neurons/fact.h"
#include "microtome/ops/op.h"

namespace microtome {

struct TokenPrediction {
  double probability = 0;  // of the given token
  double log_sum = 0;      // ln sum e^logit of the row
  int32_t top = 0;         // the most probable token
};

// One token for each row of logits [rows, V].
std::vector<TokenPrediction> predict(const OpContext& ctx, const Tensor& logits, std::span<const int32_t> tokens);

// The prompt and its answer without the last token: the input that predicts every token of the answer.
std::vector<int32_t> forced_tokens(const FactPrompt& prompt);

// Chosen rows of x [rows, ..], in memory of their own.
Tensor copied_rows(const Tensor& x, std::span<const int32_t> rows);

}  // namespace microtome
