// Philox against the known answers of its authors, and the distributions made from it.
#include "microtome/base/rng.h"

#include <gtest/gtest.h>

#include <cmath>

namespace microtome {
namespace {

// With no purpose the key is seed ^ this (FNV-1a's basis).
constexpr uint64_t kNoPurpose = 0xcbf29ce484222325ull;

// Random123's kat_vectors, philox4x32-10.
TEST(Philox, gives_the_known_answers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(Philox(kNoPurpose, "").words(0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox(kNoPurpose ^ ~0ull, "").words(~0ull, ~0ull), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox(kNoPurpose ^ 0x299f31d0a4093822ull, "").words(0x85a308d3243f6a88ull, 0x0370734413198a2eull),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, seed_purpose_index_and_lane_each_make_another_stream) {
  const auto base = Philox(1, "a").words(2, 3);
  EXPECT_EQ(base, Philox(1, "a").words(2, 3));
  EXPECT_NE(base, Philox(2, "a").words(2, 3));
  EXPECT_NE(base, Philox(1, "b").words(2, 3));
  EXPECT_NE(base, Philox(1, "a").words(3, 3));
  EXPECT_NE(base, Philox(1, "a").words(2, 4));
}

TEST(Philox, uniform_and_normal_have_their_moments) {
  const Philox rng(7, "moments");
  constexpr int kDraws = 20000;
  double u1 = 0, u2 = 0, n1 = 0, n2 = 0, n4 = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform(i), n = rng.normal(i, 1);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    u1 += u / kDraws, u2 += u * u / kDraws;
    n1 += n / kDraws, n2 += n * n / kDraws, n4 += n * n * n * n / kDraws;
  }
  EXPECT_NEAR(u1, 1.0 / 2, 0.01);
  EXPECT_NEAR(u2, 1.0 / 3, 0.01);
  EXPECT_NEAR(n1, 0, 0.03);
  EXPECT_NEAR(n2, 1, 0.05);
  EXPECT_NEAR(n4, 3, 0.3);
}

TEST(Philox, below_reaches_every_value_and_no_other) {
  const Philox rng(8, "below");
  std::array<int, 7> counts{};
  for (int i = 0; i < 7000; ++i) ++counts.at(rng.below(7, i));
  for (const int c : counts) EXPECT_NEAR(c, 1000, 150);
  EXPECT_EQ(rng.below(1, 5), 0u);
  bool high = false;
  for (int i = 0; i < 64; ++i) high = high || rng.below(~0ull, i) >> 63;
  EXPECT_TRUE(high);
}

}  // namespace
}  // namespace microtome
