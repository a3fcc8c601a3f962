// What is reported of a map: normalisation, missing cells, intervals.
#include <gtest/gtest.h>

#include <cmath>

#include "microtome/circuits/patching/effects.h"
#include "microtome/circuits/patching/head_pairs.h"

namespace microtome {
namespace {

constexpr double kNone = Effects::kMissing;

TEST(PatchEffects, are_ratios_of_means_exact_at_both_ends) {
  Effects e({3.1, 0.7, 2.2}, {-1.3, 0.1, 0.4}, 3);
  for (size_t i = 0; i < 3; ++i) e.at(0, i) = e.corrupted[i], e.at(1, i) = e.clean[i];
  for (size_t i = 0; i < 3; ++i) e.at(2, i) = static_cast<double>(i);
  const EffectMap m = summarise(e, 0);
  EXPECT_EQ(m.value[0], 0.0);
  EXPECT_EQ(m.value[1], 1.0);
  EXPECT_DOUBLE_EQ(m.value[2], (3.0 + 0.8) / (6.0 + 0.8));
  EXPECT_DOUBLE_EQ(m.raw[2], 1.0);
  EXPECT_EQ(m.low[0], 0.0);
  EXPECT_EQ(m.high[1], 1.0);
  EXPECT_DOUBLE_EQ(m.clean, 2.0);
}

TEST(PatchEffects, leave_out_examples_without_the_cell) {
  Effects e({2, 4}, {0, 0}, 2);
  e.at(0, 0) = 1;
  const EffectMap m = summarise(e, 0);
  EXPECT_DOUBLE_EQ(m.value[0], 0.5) << "normalised by the one example that has it";
  EXPECT_TRUE(std::isnan(m.low[0])) << "one example has no spread";
  EXPECT_TRUE(std::isnan(m.value[1]));
  EXPECT_TRUE(std::isnan(m.raw[1]));
}

TEST(PatchEffects, intervals_hold_the_value_shrink_with_examples_and_follow_the_seed) {
  const auto width = [](size_t n, uint64_t seed, double* low = nullptr) {
    std::vector<double> clean(n, 1.0), corrupted(n, 0.0);
    Effects e(clean, corrupted, 1);
    for (size_t i = 0; i < n; ++i) e.at(0, i) = i % 2 == 0 ? 0.2 : 0.6;
    const EffectMap m = summarise(e, seed);
    EXPECT_LE(m.low[0], m.value[0]);
    EXPECT_GE(m.high[0], m.value[0]);
    if (low) *low = m.low[0];
    return m.high[0] - m.low[0];
  };
  double a = 0, b = 0, c = 0;
  const double few = width(6, 1, &a), again = width(6, 1, &b), many = width(96, 1);
  width(7, 2, &c);
  EXPECT_EQ(few, again);
  EXPECT_EQ(a, b);
  EXPECT_LT(many, few / 2);
  // 1.96 standard errors of a mean of 96 values with deviation 0.2.
  EXPECT_NEAR(many, 2 * 1.96 * 0.2 / std::sqrt(96.0), 0.015);
}

TEST(PatchEffects, have_no_normalised_value_where_the_two_runs_agree) {
  Effects e({1, 1}, {1, 1}, 1);
  e.at(0, 0) = e.at(0, 1) = 5;
  const EffectMap m = summarise(e, 0);
  EXPECT_TRUE(std::isnan(m.value[0]));
  EXPECT_DOUBLE_EQ(m.raw[0], 5);
}

TEST(PatchEffects, correlation_is_pearsons_over_the_cells_both_have) {
  EXPECT_NEAR(correlation({1, 2, 3, kNone}, {2, 4, 6, 9}), 1, 1e-12);
  EXPECT_NEAR(correlation({1, 2, 3}, {3, 2, 1}), -1, 1e-12);
  EXPECT_TRUE(std::isnan(correlation({1, 1, 1}, {1, 2, 3})));
}

TEST(HeadClusters, join_heads_that_do_more_together_and_leave_out_the_rest) {
  // 0, 2 and 3 stand in for each other; 1 and 4 a little; 5 works against 0.
  const size_t n = 6;
  std::vector<double> s(n * n, 0.0);
  const auto set = [&](size_t a, size_t b, double v) { s[a * n + b] = s[b * n + a] = v; };
  set(0, 2, 0.5), set(0, 3, 0.4), set(2, 3, 0.3), set(1, 4, 0.2), set(0, 5, -0.6), set(1, 2, 0.02);
  for (size_t i = 0; i < n; ++i) s[i * n + i] = kNone;
  EXPECT_EQ(clusters_of(s, n), (std::vector<std::vector<size_t>>{{0, 2, 3}, {1, 4}}));
  EXPECT_TRUE(clusters_of(std::vector<double>(n * n, -0.1), n).empty());
  EXPECT_TRUE(clusters_of(std::vector<double>(n * n, 0.001), n).empty()) << "below the least strength";
}

}  // namespace
}  // namespace microtome
