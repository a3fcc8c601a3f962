#include <gtest/gtest.h>

#include "algebra_support.h"
#include "microtome/circuits/algebra/factored.h"

namespace microtome::algebra {
namespace {

Factored random_factored(int64_t m, int64_t r, int64_t n, uint64_t seed) {
  return {gaussian_matrix(m, r, seed, "factored-test", 0), gaussian_matrix(r, n, seed, "factored-test", 1)};
}

TEST(Factored, norms_traces_and_products_are_those_of_the_dense_matrix) {
  const Factored x = random_factored(20, 4, 20, 1), y = random_factored(20, 6, 15, 2);
  EXPECT_NEAR(frobenius_norm(x), frobenius_norm(dense(x)), 1e-10);
  EXPECT_NEAR(trace(x), microtome::trace(dense(x)), 1e-10);
  EXPECT_LT(largest_difference(dense(multiply(x, y)), matmul(dense(x), dense(y))), 1e-10);
  EXPECT_EQ(multiply(x, y).rank(), 4);
  EXPECT_LT(largest_difference(dense(transposed(y)), microtome::transposed(dense(y))), 1e-14);
}

TEST(Factored, singular_values_and_vectors_are_those_of_the_dense_matrix) {
  const Factored x = random_factored(18, 5, 12, 3);
  ThinSvd through_factors = svd(x);
  const ThinSvd of_dense = thin_svd(dense(x));
  ASSERT_EQ(through_factors.s.size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(through_factors.s[i], of_dense.s[i], 1e-10);
  for (int64_t i = 0; i < 18; ++i)
    for (int64_t j = 0; j < 5; ++j) through_factors.u(i, j) *= through_factors.s[j];
  EXPECT_LT(largest_difference(matmul_nt(through_factors.u, through_factors.v), dense(x)), 1e-10);
}

// The spectra of A B and B A differ by zeros alone.
TEST(Factored, eigenvalues_are_those_of_the_dense_matrix_without_its_zeros) {
  const Factored x = random_factored(16, 5, 16, 4);
  const auto small = eigenvalues(x), large = microtome::eigenvalues(dense(x));
  ASSERT_EQ(small.size(), 5u);
  for (size_t i = 0; i < 5; ++i) EXPECT_LT(std::abs(small[i] - large[i]), 1e-9) << i;
  for (size_t i = 5; i < large.size(); ++i) EXPECT_LT(std::abs(large[i]), 1e-6) << i;
}

TEST(Factored, positivity_of_signs) {
  EXPECT_EQ(positivity({{2, 0}, {1, 0}}), 1);
  EXPECT_EQ(positivity({{-2, 0}, {-1, 0}}), -1);
  EXPECT_EQ(positivity({{0, 3}, {0, -3}}), 0);
  EXPECT_EQ(positivity({{3, 0}, {-1, 0}}), 0.5);
  EXPECT_EQ(positivity({}), 0);
}

}  // namespace
}  // namespace microtome::algebra
