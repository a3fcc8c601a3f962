// Induction heads from weights alone: whose keys read what previous-token heads write, and whose values copy.
//
//   const std::vector<double> previous = previous_token_scores(*model, seed, progress);      // one short run
//   for (const InductionScore& s : induction(heads, previous, gram_embed, gram_copying)) ...
//
// For an earlier head 1 that copies the previous token's identity, head 2 attends where that identity matches its own token if
// the table W_E QK₂ OV₁ᵀ W_Eᵀ (destination, source) has a positive diagonal: its eigenvalue positivity Σλ/Σ|λ|, against that of
// head 2's OV table. Induction heads lie in the corner where both are near 1 (Elhage et al. 2021). The QK trace (Olsson et al.
// 2022) is Σ_e prev(e) tr(QK₂ OV_eᵀ W_Eᵀ W_E) over earlier heads e, prev(e) their previous-token scores.
#pragma once

#include <span>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/circuits/algebra/head_weights.h"

namespace microtome::algebra {

struct InductionScore {
  HeadId id;
  double score = 0;     // positivity of W_E QK₂ OV₁ᵀ W_Eᵀ, head 1 = `via`
  double copying = 0;   // positivity of W_E OV₂ W_U
  double qk_trace = 0;  // over all earlier heads, each divided by ‖QK₂‖ ‖OV_e‖ ‖W_Eᵀ W_E‖, so that models compare
  double composition = 0;  // K-composition with `via`
  HeadId via;              // the earlier head of the largest share of the QK trace
  double via_previous = 0;
};

// `previous`: each head's mean attention to the token before, or 1 for all where nothing is known. `gram_embed` = W_Eᵀ W_E [D,
// D]. Heads of layer 0, which have no earlier one, are left out. By falling
// score. (Not by the smaller of both axes: heads that attend as induction heads do may copy through later layers.)
std::vector<InductionScore> induction(std::span<const HeadWeights> heads, std::span<const double> previous,
                                      const MatrixF64& gram_embed, const MatrixF64& gram_copying, Progress* progress = nullptr);

// Mean A[i, i − 1] of every head (layer · H + head) on 60 seeded random tokens.
std::vector<double> previous_token_scores(const Model& model, uint64_t seed, Progress* progress = nullptr);

}  // namespace microtome::algebra
