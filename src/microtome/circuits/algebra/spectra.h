// Copying, matching and deletion: what the eigenvalues of a head's circuits say.
//
//   const MatrixF64 g = vocabulary.gram_copying();
//   for (const HeadSpectrum& s : copying(heads, g, progress)) ...     // 144 heads of GPT-2 in well under a second
//
// The copying table of a head is W_E W_V W_O W_U [V, V]; its non-zero eigenvalues are those of the small matrix W_O G W_V with
// G = W_U W_E, and likewise for QK with W_Eᵀ W_E (biases included, through a constant 1 appended to the stream). The score
// Σλ / Σ|λ| is 1 if every token raises itself, -1 if every token lowers itself, about 0 for random weights. A score near 1 of
// eigenvalues that are all tiny says nothing: look at Σ|λ| too. Same digits for any number of threads.
#pragma once

#include <complex>
#include <span>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/circuits/algebra/head_weights.h"

namespace microtome::algebra {

struct HeadSpectrum {
  HeadId id;
  double score = 0;                               // Σ λ / Σ |λ|
  double magnitude = 0;                           // Σ |λ|
  double trace = 0;                               // Σ λ
  std::vector<std::complex<double>> eigenvalues;  // [K], by falling |λ|
};

// Of the OV table; `gram` = W_U W_E [D, D].
std::vector<HeadSpectrum> copying(std::span<const HeadWeights> heads, const MatrixF64& gram, Progress* progress = nullptr);

// Of the QK table over tokens, scaled as scores are; `gram` = Vocabulary::gram_matching() [D + 1, D + 1].
std::vector<HeadSpectrum> matching(std::span<const HeadWeights> heads, const MatrixF64& gram, Progress* progress = nullptr);

// Of x → x + x OV, a head that reads its own position: −Σλ / Σ|λ| of OV itself, 1 where it removes what it reads and −1 where it
// writes it again. `nearest` is the eigenvalue nearest to −1, exact deletion at a norm's scale of 1, `nearest_copy` the one
// nearest to +1.
struct HeadDeletion {
  HeadId id;
  double score = 0;
  std::complex<double> nearest, nearest_copy;
};
std::vector<HeadDeletion> deletion(std::span<const HeadWeights> heads, Progress* progress = nullptr);

// The control: a head with Gaussian weights of standard deviation 1/√D and no biases. Its copying and matching scores with a
// model's own Gram matrix spread about 0.
HeadWeights random_head(int64_t d, int64_t k, uint64_t seed, int64_t number);

// Virtual head: what OV₁ OV₂ does to tokens; head 1 in an earlier layer than head 2.
struct VirtualHead {
  HeadId first, second;
  double composition = 0;  // ‖OV₁ OV₂‖ / (‖OV₁‖ ‖OV₂‖)
  HeadSpectrum copying;    // of W_E OV₁ OV₂ W_U; its id is the second's
};
VirtualHead virtual_head(const HeadWeights& first, const HeadWeights& second, const MatrixF64& gram);

}  // namespace microtome::algebra
