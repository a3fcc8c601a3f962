// Next-token cross-entropy over a batch, and its gradients.
//
//   Tape tape(model.context());
//   Forward f = forward(model, {.batch = batch, .plan = &plan, .tape = &tape});   // plan.logit_rows = kAll
//   double loss = next_token_loss(model, batch, f, &tape);                        // runs the tape backwards
#pragma once

#include <vector>

#include "microtome/model/model.h"

namespace microtome {

// The token that follows each row in its sequence; -1 for the last row of a sequence.
std::vector<int32_t> next_tokens(const Batch& batch);

// -log p(target) of every row of `logits` [rows, V], in double; 0 where the target is < 0.
std::vector<double> row_losses(const Model& model, const Tensor& logits, const std::vector<int32_t>& targets);

// Mean over all predicted tokens of all sequences, float64 (natural logs). `result` must hold the logits of all rows. With a
// tape, gradients flow from it. Throws InvalidArgument if no token is predicted.
double next_token_loss(const Model& model, const Batch& batch, const Forward& result, Tape* tape);

}  // namespace microtome
