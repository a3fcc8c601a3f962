// Composition: how much of what an earlier head writes a later head reads as its query, key or value.
//
//   auto rows = composition(writers, readers, {kQ, kK, kV}, progress);          // every pair with the writer in an earlier layer
//   auto base = composition_baseline(d, k, {.pairs = 100, .seed = 0});
//   double excess = rows[0].score - base.mean;
//
// score = ‖X‖ / (‖OV₁‖ ‖Y‖), Frobenius norms (Elhage et al. 2021):  Q: Y = QK₂, X = OV₁ QK₂;  K: Y = QK₂ᵀ, X = OV₁ QK₂ᵀ;
// V: Y = OV₂, X = OV₁ OV₂. Never made: with roots RᵀR = W_V1ᵀ W_V1 and LᵀL = (the far side of Y), ‖X‖ = ‖(R W_O1)(W₂ Lᵀ)‖, so
// that a layer of readers against all earlier writers is one product. Two random matrices of these shapes score about 1/√d: a
// score says nothing without the baseline. Queries may be turned by an offset (read_heads). Products in f32, sums in double in a
// fixed order: the same digits for any number of threads.
#pragma once

#include <span>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/circuits/algebra/head_weights.h"

namespace microtome::algebra {

enum class CompositionKind : uint8_t { kQ, kK, kV };
const char* composition_name(CompositionKind kind);  // "q", "k", "v"

struct Composition {
  HeadId from, to;
  CompositionKind kind = CompositionKind::kQ;
  double score = 0;
};

// By reader, kind, writer, each in the order given. Throws Error(kCancelled) through `progress`.
std::vector<Composition> composition(std::span<const HeadWeights> writers, std::span<const HeadWeights> readers,
                                     std::span<const CompositionKind> kinds, Progress* progress = nullptr);

// ‖X Y‖ / (‖X‖ ‖Y‖) of two factored matrices, in double.
double composition_score(const Factored& x, const Factored& y);

struct CompositionBaseline {
  double mean = 0, sd = 0;
  int64_t pairs = 0;
};
// Of pairs of Gaussian factored matrices [d, k] [k, d]; all kinds share it, for Gaussian factors they are the same draw.
struct BaselineOptions {
  int64_t pairs = 100;
  uint64_t seed = 0;
};
CompositionBaseline composition_baseline(int64_t d, int64_t k, const BaselineOptions& options = {}, Progress* progress = nullptr);
// One of those pairs' scores, by number: any may be drawn alone.
double random_pair_score(int64_t d, int64_t k, uint64_t seed, int64_t number);

// A Gaussian matrix, keyed by seed, purpose and number.
MatrixF64 gaussian_matrix(int64_t rows, int64_t cols, uint64_t seed, std::string_view purpose, uint64_t number);

}  // namespace microtome::algebra
