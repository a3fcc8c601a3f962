// Heads and vocabularies made for tests of weight algebra, and dense arithmetic to hold results against.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "microtome/base/rng.h"
#include "microtome/circuits/algebra/composition.h"
#include "microtome/circuits/algebra/spectra.h"

namespace microtome::algebra {

inline std::vector<float> gaussians(int64_t n, uint64_t seed, uint64_t lane, double sd = 1) {
  const Philox rng(seed, "algebra-test");
  std::vector<float> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(sd * rng.normal(i, lane));
  return out;
}

// Random heads of every layer, in order.
inline std::vector<HeadWeights> random_heads(int layers, int heads, int64_t d, int64_t k, uint64_t seed, int64_t model = 0) {
  std::vector<HeadWeights> out;
  for (int l = 0; l < layers; ++l)
    for (int h = 0; h < heads; ++h) {
      out.push_back(random_head(d, k, seed, (model * layers + l) * heads + h));
      out.back().id = {l, h};
    }
  return out;
}

inline double largest_difference(const MatrixF64& a, const MatrixF64& b) {
  double worst = a.rows == b.rows && a.cols == b.cols ? 0 : INFINITY;
  for (size_t i = 0; std::isfinite(worst) && i < a.data.size(); ++i) worst = std::max(worst, std::abs(a.data[i] - b.data[i]));
  return worst;
}

// ‖X Y‖ / (‖X‖ ‖Y‖) from the dense matrices.
inline double dense_composition(const Factored& x, const Factored& y) {
  const MatrixF64 a = dense(x), b = dense(y);
  return frobenius_norm(matmul(a, b)) / (frobenius_norm(a) * frobenius_norm(b));
}

}  // namespace microtome::algebra
