// How far lenses are from the model's own answer: mean KL(final || lens) per layer, beside the logit lens.
//
//   for (const LayerKl& k : evaluate_lens(model, lens, windows)) ...
//
// All positions of all windows count. Sums are in double and in a fixed order. One thread.
#pragma once

#include <vector>

#include "microtome/lens/fitted_lens.h"

namespace microtome {

struct LayerKl {
  int64_t layer = 0;
  double kl = 0, kl_logit_lens = 0;  // nats
};

// One entry a map of the lens. Steps a progress that was begun by 1 a window.
std::vector<LayerKl> evaluate_lens(const Model& model, const FittedLens& lens, const std::vector<std::vector<int32_t>>& windows,
                                   Progress* progress = nullptr);

// The streams of a batch at the lens' points: resid_pre of every block and the final stream, L + 1 tensors [rows, D]. `rows`:
// these of the batch, in this order; empty: all.
std::vector<Tensor> lens_streams(const Model& model, const Batch& batch, const std::vector<int32_t>& rows = {},
                                 const Progress* progress = nullptr);

}  // namespace microtome
