// Small dense linear algebra in double: decompositions of matrices with at most a few thousand rows.
//
//   MatrixF64 a(3, 3);  a(0, 1) = 2;
//   for (std::complex<double> lambda : eigenvalues(a)) ...
//   ThinSvd svd = thin_svd(a);                     // a = u diag(s) vᵀ
//
// Row-major; everything runs on the calling thread and gives the same bits each time. All functions are safe to call from
// several threads at once. Entries must be finite: decompositions throw Error(kInvalidArgument) otherwise, so that a broken
// checkpoint gives a message and no endless loop. Big products belong to kernels/gemm.h.
#pragma once

#include <complex>
#include <cstdint>
#include <vector>

namespace microtome {

struct MatrixF64 {
  int64_t rows = 0, cols = 0;
  std::vector<double> data;  // [rows, cols]

  MatrixF64() = default;
  MatrixF64(int64_t r, int64_t c) : rows(r), cols(c), data(static_cast<size_t>(r * c), 0.0) {}
  // From f32 values [r, c] whose rows lie `stride` apart (0: c).
  static MatrixF64 from(const float* values, int64_t r, int64_t c, int64_t stride = 0);
  static MatrixF64 identity(int64_t n);

  double& operator()(int64_t i, int64_t j) { return data[i * cols + j]; }
  double operator()(int64_t i, int64_t j) const { return data[i * cols + j]; }
};

// a b, aᵀ b, a bᵀ; aᵀ.
MatrixF64 matmul(const MatrixF64& a, const MatrixF64& b);
MatrixF64 matmul_tn(const MatrixF64& a, const MatrixF64& b);
MatrixF64 matmul_nt(const MatrixF64& a, const MatrixF64& b);
MatrixF64 transposed(const MatrixF64& a);

double trace(const MatrixF64& a);
double frobenius_norm(const MatrixF64& a);

// a = u diag(s) vᵀ with r = min(rows, cols): u [rows, r], s falling, v [cols, r].
struct ThinSvd {
  MatrixF64 u, v;
  std::vector<double> s;
};
ThinSvd thin_svd(const MatrixF64& a);

// a = q r: q [rows, k] with orthonormal columns, r [k, cols] upper triangular, k = min(rows, cols).
struct ThinQr {
  MatrixF64 q, r;
};
ThinQr thin_qr(const MatrixF64& a);

// Of a square matrix, by falling |λ| (then falling real, then falling imaginary part).
std::vector<std::complex<double>> eigenvalues(const MatrixF64& a);

// Of a symmetric matrix (the lower triangle is read): values rising, vectors as columns.
struct SymmetricEigen {
  std::vector<double> values;
  MatrixF64 vectors;
};
SymmetricEigen symmetric_eigen(const MatrixF64& a);

// r with rᵀ r = a for a symmetric positive semi-definite a (negative eigenvalues, which are rounding, count as 0).
MatrixF64 square_root_factor(const MatrixF64& a);

// Moore-Penrose; singular values at most `tolerance` times the largest count as 0.
MatrixF64 pseudo_inverse(const MatrixF64& a, double tolerance = 1e-12);

// The x of least norm among those that minimise ‖a x − b‖; x [a.cols, b.cols].
MatrixF64 least_squares(const MatrixF64& a, const MatrixF64& b, double tolerance = 1e-12);

}  // namespace microtome
