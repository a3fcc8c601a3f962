// In-context learning after Olsson et al. (2022): losses by position, prefix matching, copying of attended tokens.
//
//   std::vector<double> losses = token_losses(model, ids);               // of predicting ids[1], ids[2], ...
//   const double icl = icl_score({losses});                              // mean loss late - mean loss early; negative is better
//   prefix_matching(model, {.seed = 0});                                 // [heads]
//
// One call at a time.
#pragma once

#include <optional>
#include <vector>

#include "microtome/circuits/heads/probe.h"

namespace microtome::heads {

// losses[i] = -ln p(ids[i + 1]), nats, double. Logits are made in pieces: long texts take no [T, V].
std::vector<double> token_losses(const Model& model, const std::vector<int32_t>& ids, const Progress* progress = nullptr,
                                 const Plan* edits = nullptr);

// Mean over texts of loss(token 500) - loss(token 50), of contexts of 512; shorter texts scale both indices. Each loss is the
// mean over T / 64 positions either side, so that few texts say something too. Nothing for texts of fewer than 16 tokens.
std::optional<double> icl_score(const std::vector<std::vector<double>>& losses);

struct OlssonOptions {
  int64_t block = 25, times = 4, texts = 10;
  uint64_t seed = 0;
  const Plan* edits = nullptr;  // of the passes
};

// Mean attention from each token to the tokens that followed its earlier occurrences: `texts` texts of a beginning-of-text token
// (where there is one) and `block` random tokens said `times` times; the twentieth of the vocabulary with the lowest ids and that
// with the highest (in BPE the commonest and the rarest) are left out. Blocks are shorter in short contexts; empty if not even 3
// fit. [heads]
std::vector<double> prefix_matching(const Model& model, const OlssonOptions& options, Progress* progress = nullptr);

// 25 random tokens: each head's output at each position as logits of the text's own tokens, less their mean over the vocabulary,
// negative ones dropped; the attended token's raise over all raises. Each position's attended token is the one it attends to
// most. 1 / 25 by chance. [heads]; empty as above.
std::vector<double> attended_copying(const Model& model, const OlssonOptions& options, Progress* progress = nullptr);

}  // namespace microtome::heads
