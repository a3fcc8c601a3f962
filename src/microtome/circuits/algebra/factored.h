// A matrix of low rank kept as two factors: M = A B with A [m, r], B [r, n]. Nothing here makes M itself.
//
//   Factored ov{w_v, w_o};
//   double norm = frobenius_norm(ov);
//   double copying = positivity(eigenvalues(ov));
//
// Elhage et al. (2021) published a wrong composition figure through a fault in a low-rank library: tests hold every function
// against the dense matrix. All in double, on the calling thread.
#pragma once

#include <complex>
#include <vector>

#include "microtome/ops/linear_algebra.h"

namespace microtome::algebra {

struct Factored {
  MatrixF64 a, b;
  int64_t rows() const { return a.rows; }
  int64_t cols() const { return b.cols; }
  int64_t rank() const { return a.cols; }
};

MatrixF64 dense(const Factored& m);
Factored transposed(const Factored& m);
// (A B)(C D) = (A (B C)) D, or A ((B C) D) where that is the smaller rank.
Factored multiply(const Factored& x, const Factored& y);

// tr(A B) = tr(B A); of a square matrix.
double trace(const Factored& m);
// ‖A B‖² = tr((Aᵀ A)(B Bᵀ)).
double frobenius_norm(const Factored& m);
// The min(r, n) eigenvalues that may differ from 0: those of B A. Of a square matrix; by falling |λ|.
std::vector<std::complex<double>> eigenvalues(const Factored& m);
// Through the QR of both factors: A = Q₁ R₁, Bᵀ = Q₂ R₂, SVD of R₁ R₂ᵀ.
ThinSvd svd(const Factored& m);

// Σ λ / Σ |λ|, in [−1, 1] (the imaginary parts of a real matrix cancel); 0 where all are 0.
double positivity(const std::vector<std::complex<double>>& values);
double sum_of_magnitudes(const std::vector<std::complex<double>>& values);

}  // namespace microtome::algebra
