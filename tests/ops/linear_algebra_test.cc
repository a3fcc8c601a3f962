#include "microtome/ops/linear_algebra.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {
namespace {

MatrixF64 random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  const Philox rng(seed, "linear-algebra-test");
  MatrixF64 a(rows, cols);
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] = rng.normal(i);
  return a;
}

double largest_difference(const MatrixF64& a, const MatrixF64& b) {
  EXPECT_EQ(a.rows, b.rows);
  EXPECT_EQ(a.cols, b.cols);
  double worst = 0;
  for (size_t i = 0; i < a.data.size(); ++i) worst = std::max(worst, std::abs(a.data[i] - b.data[i]));
  return worst;
}

MatrixF64 product_by_definition(const MatrixF64& a, const MatrixF64& b) {
  MatrixF64 out(a.rows, b.cols);
  for (int64_t i = 0; i < a.rows; ++i)
    for (int64_t j = 0; j < b.cols; ++j)
      for (int64_t k = 0; k < a.cols; ++k) out(i, j) += a(i, k) * b(k, j);
  return out;
}

TEST(LinearAlgebra, products_follow_their_definition) {
  const MatrixF64 a = random_matrix(5, 3, 1), b = random_matrix(3, 7, 2);
  const MatrixF64 expected = product_by_definition(a, b);
  EXPECT_LT(largest_difference(matmul(a, b), expected), 1e-13);
  EXPECT_LT(largest_difference(matmul_tn(transposed(a), b), expected), 1e-13);
  EXPECT_LT(largest_difference(matmul_nt(a, transposed(b)), expected), 1e-13);
}

TEST(LinearAlgebra, svd_and_qr_put_the_matrix_together_again) {
  for (const auto& [rows, cols] : {std::pair{9, 4}, std::pair{4, 9}, std::pair{6, 6}}) {
    const MatrixF64 a = random_matrix(rows, cols, 3);
    ThinSvd svd = thin_svd(a);
    ASSERT_TRUE(std::is_sorted(svd.s.rbegin(), svd.s.rend()));
    EXPECT_LT(largest_difference(matmul_tn(svd.u, svd.u), MatrixF64::identity(std::min(rows, cols))), 1e-12);
    for (int64_t i = 0; i < svd.u.rows; ++i)
      for (int64_t k = 0; k < svd.u.cols; ++k) svd.u(i, k) *= svd.s[k];
    EXPECT_LT(largest_difference(matmul_nt(svd.u, svd.v), a), 1e-12);
    const ThinQr qr = thin_qr(a);
    EXPECT_LT(largest_difference(matmul(qr.q, qr.r), a), 1e-12);
    EXPECT_EQ(qr.r(1, 0), 0);
  }
}

TEST(LinearAlgebra, eigenvalues_of_a_rotation_and_a_stretch) {
  MatrixF64 a(3, 3);  // turns by 90 degrees and doubles in a plane, −3 along the rest
  a(0, 1) = -2, a(1, 0) = 2, a(2, 2) = -3;
  const auto lambda = eigenvalues(a);
  EXPECT_NEAR(std::abs(lambda[0] - std::complex<double>(-3, 0)), 0, 1e-12);
  EXPECT_NEAR(std::abs(lambda[1] - std::complex<double>(0, 2)), 0, 1e-12);
  EXPECT_NEAR(std::abs(lambda[2] - std::complex<double>(0, -2)), 0, 1e-12);
}

TEST(LinearAlgebra, symmetric_eigenvectors_and_root) {
  const MatrixF64 b = random_matrix(4, 6, 5);
  const MatrixF64 a = matmul_tn(b, b);  // rank 4 of 6
  const SymmetricEigen e = symmetric_eigen(a);
  MatrixF64 scaled = e.vectors;
  for (int64_t i = 0; i < 6; ++i)
    for (int64_t j = 0; j < 6; ++j) scaled(i, j) *= e.values[j];
  EXPECT_LT(largest_difference(matmul_nt(scaled, e.vectors), a), 1e-12);
  EXPECT_NEAR(e.values[1], 0, 1e-12);
  const MatrixF64 r = square_root_factor(a);
  EXPECT_LT(largest_difference(matmul_tn(r, r), a), 1e-12);
}

TEST(LinearAlgebra, pseudo_inverse_has_its_four_properties_at_any_rank) {
  const MatrixF64 a = matmul(random_matrix(7, 3, 6), random_matrix(3, 5, 7));
  const MatrixF64 p = pseudo_inverse(a);
  EXPECT_LT(largest_difference(matmul(matmul(a, p), a), a), 1e-10);
  EXPECT_LT(largest_difference(matmul(matmul(p, a), p), p), 1e-10);
  EXPECT_LT(largest_difference(matmul(a, p), transposed(matmul(a, p))), 1e-10);
  EXPECT_LT(largest_difference(matmul(p, a), transposed(matmul(p, a))), 1e-10);
}

TEST(LinearAlgebra, least_squares_leaves_a_residual_at_right_angles) {
  const MatrixF64 a = random_matrix(8, 3, 8), b = random_matrix(8, 2, 9);
  MatrixF64 residual = matmul(a, least_squares(a, b));
  for (size_t i = 0; i < residual.data.size(); ++i) residual.data[i] -= b.data[i];
  EXPECT_LT(largest_difference(matmul_tn(a, residual), MatrixF64(3, 2)), 1e-12);
}

TEST(LinearAlgebra, what_is_not_finite_is_refused) {
  MatrixF64 a = random_matrix(3, 3, 10);
  a(1, 1) = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(eigenvalues(a), Error);
  EXPECT_THROW(thin_svd(a), Error);
  EXPECT_THROW(symmetric_eigen(a), Error);
}

}  // namespace
}  // namespace microtome
