// A run of an attention-only model with its patterns and norm scales frozen: then it is linear, and falls apart into paths.
//
//   FrozenRun run = freeze(model, ids);
//
// Throws Unsupported for a model with MLPs. One thread; memory: L H T² floats of patterns.
#pragma once

#include <vector>

#include "microtome/circuits/algebra/head_weights.h"

namespace microtome {

struct FrozenRun {
  std::vector<int32_t> ids;
  int64_t length = 0, d = 0;
  bool centred = false;                     // norms take the mean away
  Tensor token, position;                   // what enters the stream, [T, D]; `position` undefined where it does not
  std::vector<Tensor> pattern;              // per layer [H, T, T]
  std::vector<std::vector<double>> scale;   // per layer, of the norm before attention, [T]
  std::vector<double> final_scale;          // [T]
  std::vector<algebra::HeadWeights> heads;  // folded: a head adds A (x / scale) W_V W_O + b_V W_O; layer by layer
  std::vector<std::vector<float>> bias;     // per layer b_O [D]; empty where the model has none
  std::vector<float> logits;                // of every position for the directions asked for, [T, columns]

  bool edited = false;  // edits were in force: what they wrote is no path

  int64_t n_layers() const { return static_cast<int64_t>(pattern.size()); }
  int64_t n_heads() const { return n_layers() ? static_cast<int64_t>(heads.size()) / n_layers() : 0; }
  const algebra::HeadWeights& head(int64_t layer, int64_t h) const { return heads[layer * n_heads() + h]; }
};

// `columns`: of the vocabulary, whose logits are kept. `edits`: a plan whose edits are in force.
FrozenRun freeze(const Model& model, const std::vector<int32_t>& ids, const std::vector<int32_t>& columns,
                 const Plan* edits = nullptr);

}  // namespace microtome
