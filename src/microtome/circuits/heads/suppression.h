// Copy suppression: how much of what a head does is lowering what was predicted already (McDougall et al. 2023).
//
//   auto r = suppression_explained(model, texts, {{10, 7}}, {});
//   r[0].explained;                               // 1 - kl / kl_mean
//
// The head's output at i is m + Σ_j A[i,j] (v_j W_O - m), m its mean over all positions of the texts. Copy-suppression-preserving
// ablation (CSPA) keeps of the sum only the sources whose tokens the stream before the head already predicts, and of each of them
// only its part along the unembedding of its own token, where that is negative. `kl` is KL(as it is || CSPA), `kl_mean`
// KL(as it is || m alone), nats, means over positions. "Already predicts": of the tokens that i sees, j's logit (final norm and
// unembedding of the head's input) is among the highest twentieth, the highest one at least. One call at a time.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/circuits/heads/probe.h"

namespace microtome::heads {

struct Suppression {
  algebra::HeadId head;
  double kl = 0, kl_mean = 0;
  std::optional<double> explained;  // nothing where the mean changes nothing
};

struct SuppressionExplainedOptions {
  double share = 0.05;      // of the sources that count as predicted
  int64_t positions = 512;  // of each text, the first
  const Plan* edits = nullptr;
};

// One result for each head.
std::vector<Suppression> suppression_explained(const Model& model, std::span<const ProbeText> texts,
                                               std::span<const algebra::HeadId> heads, const SuppressionExplainedOptions& options,
                                               Progress* progress = nullptr);

}  // namespace microtome::heads
