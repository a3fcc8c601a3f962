// Patterns from elsewhere: what is refused, and that the message says where.
#include <gtest/gtest.h>

#include <cmath>

#include "microtome/base/error.h"
#include "microtome/circuits/heads/pattern_check.h"

namespace microtome::heads {
namespace {

constexpr int64_t kHeads = 2, kTokens = 3;

// Every query attends alike to what it sees.
Tensor uniform_pattern() {
  Tensor p = Tensor::zeros({kHeads, kTokens, kTokens});
  for (int64_t h = 0; h < kHeads; ++h)
    for (int64_t i = 0; i < kTokens; ++i)
      for (int64_t j = 0; j <= i; ++j) p.f32()[(h * kTokens + i) * kTokens + j] = 1.0f / static_cast<float>(i + 1);
  return p;
}

std::string message_with(int64_t head, int64_t row, int64_t column, float value) {
  Tensor p = uniform_pattern();
  p.f32()[(head * kTokens + row) * kTokens + column] = value;
  try {
    check_pattern(p);
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(PatternCheck, accepts_attention) { EXPECT_NO_THROW(check_pattern(uniform_pattern())); }

TEST(PatternCheck, names_head_row_and_column_of_what_is_no_attention) {
  EXPECT_NE(message_with(1, 2, 0, NAN).find("head 1, row 2, column 0 is nan"), std::string::npos);
  EXPECT_NE(message_with(0, 1, 1, INFINITY).find("head 0, row 1, column 1 is inf"), std::string::npos);
  EXPECT_NE(message_with(1, 1, 0, -0.5f).find("head 1, row 1, column 0 is -0.5"), std::string::npos);
  EXPECT_NE(message_with(0, 0, 2, 0.25f).find("head 0, row 0, column 2 is 0.25: above the diagonal"), std::string::npos);
}

TEST(PatternCheck, rows_sum_to_one_within_a_thousandth) {
  EXPECT_NE(message_with(1, 0, 0, 0.9f).find("head 1, row 0 sums to 0.9"), std::string::npos);
  EXPECT_EQ(message_with(1, 0, 0, 0.9995f), "accepted");
}

}  // namespace
}  // namespace microtome::heads
