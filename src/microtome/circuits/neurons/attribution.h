// Integrated gradients on MLP activations (Dai et al. 2022, "Knowledge Neurons in Pretrained Transformers"; circuits
// specification, section 9): how much each neuron contributes to the probability of a prompt's answer.
//
//   const std::vector<PromptAttribution> a = attribute_neurons(model, fact.prompts, {});
//   a[0].scores;                                    // [L, M]
//
// w is mlp.hook_post of layer l at the position that predicts the answer, P the answer's probability there:
//   Attr_i = w_i * integral over a in [0, 1] of dP(a w)/dw_i, the whole layer scaled together,
// so that sum_i Attr_i = P(w) - P(0). The nodes are doubled until that holds within the tolerance. An answer of several tokens
// is predicted token by token behind the true ones; P, Attr and w are means over them.
//
// Cost: only layers above l run, only for the predicting position, all nodes in one batch; w enters the stream linearly, so the
// gradient is taken at the stream, added up over the nodes, and carried through W_out once. One thread calls; products run on
// all.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/neurons/fact.h"
#include "microtome/circuits/neurons/quadrature.h"
#include "microtome/model/model.h"

namespace microtome {

struct NeuronAttributionOptions {
  QuadratureRule rule = QuadratureRule::kGauss;
  int steps = 20;                      // nodes to begin with
  int most_steps = 128;                // doubling ends here
  double tolerance = 0.01;             // of the gap, below
  int64_t rows = 128;                  // of one batch, at most (one prompt's nodes stay together)
  const Progress* progress = nullptr;  // asked for cancellation
};

// How well a layer's attributions of one prompt add up (the worst of its answer tokens).
struct AttributionGap {
  int steps = 0;
  // |sum Attr - (P(w) - P(0))| / |P(w) - P(0)|, where that difference is below 1 % of the larger of the two, relative to that 1 %
  // (a layer without effect has nothing to be relative to).
  double gap = 0;
};

struct PromptAttribution {
  Tensor scores;                     // Attr, [L, M]
  Tensor activation;                 // w, [L, M]
  double probability = 0;            // of the answer
  bool right = false;                // the answer is the most probable continuation (every token of it)
  std::vector<AttributionGap> gaps;  // [L]
};

// Multiply-adds of products with weights, forward and backward (the gradient's way through a product costs as much as the
// product).
struct NeuronMacs {
  int64_t plain = 0;     // as many nodes, each a forward of the whole prompt and a backward
  int64_t executed = 0;  // doubling's earlier rounds included
};

// Throws InvalidArgument where the model has no MLP, and what forward throws.
std::vector<PromptAttribution> attribute_neurons(const Model& model, std::span<const FactPrompt> prompts,
                                                 const NeuronAttributionOptions& options, NeuronMacs* macs = nullptr);

}  // namespace microtome
