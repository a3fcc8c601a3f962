// What the fused row kernels guarantee about bits, aliases, odd values and threads.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"
#include "op_case.h"

namespace microtome::op_table {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> random_values(int64_t n, double low, double high, uint64_t seed) {
  return random_arrays<float>({n}, low, high, seed)[0];
}

class Fused : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(set_isa(GetParam())); }
  void TearDown() override { set_isa(""), set_num_threads(0); }
};

TEST_P(Fused, norm_equals_its_three_steps_bit_for_bit) {
  for (const int64_t d : {1, 5, 64, 577}) {
    for (const bool center : {false, true}) {
      const NormShape s{7, d, center, 1e-6f};
      const std::vector<float> x = random_values(7 * d, -30, 50, 1), gamma = random_values(d, -1, 2, 2),
                               beta = random_values(d, -1, 1, 3);
      for (const float* g : {gamma.data(), static_cast<const float*>(nullptr)}) {
        for (const float* b : {beta.data(), static_cast<const float*>(nullptr)}) {
          std::vector<float> y(x.size()), scale(7), n(x.size()), steps(x.size()), scale_alone(7);
          norm(s, x.data(), g, b, y.data(), scale.data());
          norm_scale(s, x.data(), scale_alone.data());
          norm_normalize(s, x.data(), scale_alone.data(), n.data());
          norm_affine(7, d, n.data(), g, b, steps.data());
          EXPECT_EQ(scale, scale_alone);
          EXPECT_EQ(y, steps) << "d " << d << ", centred " << center << ", gamma " << (g != nullptr) << ", beta "
                              << (b != nullptr);
        }
      }
    }
  }
}

// Every operation of the table over the same values: alone, and with a second thread.
TEST_P(Fused, threads_change_no_bit) {
  for (const OpCase& op : op_cases(Sizes::kBench)) {
    if (op.name.starts_with("attention") || op.bytes > 1e7) continue;
    const Arrays<float> in = random_arrays<float>(op.inputs, op.low, op.high, 5),
                        dout = random_arrays<float>(op.outputs, -1, 1, 6);
    Arrays<float> out[2], din[2];
    for (int t = 0; t < 2; ++t) {
      set_num_threads(t + 1);
      out[t] = zeros<float>(op.outputs);
      din[t] = zeros<float>(op.inputs);
      op.fast(in, out[t]);
      if (op.fast_backward) op.fast_backward(in, dout, din[t]);
    }
    EXPECT_EQ(out[0], out[1]) << op.name;
    EXPECT_EQ(din[0], din[1]) << op.name;
  }
}

TEST_P(Fused, row_result_depends_on_that_row_alone) {
  const int64_t rows = 9, d = 83;
  const std::vector<float> x = random_values(rows * d, -4, 4, 8), gamma = random_values(d, -1, 2, 2);
  const NormShape all{rows, d, true, 1e-5f}, one{1, d, true, 1e-5f};
  std::vector<float> normed(x.size()), soft(x.size());
  std::vector<double> lse(rows);
  norm(all, x.data(), gamma.data(), nullptr, normed.data(), nullptr);
  softmax(rows, d, x.data(), soft.data());
  log_sum_exp(rows, d, x.data(), lse.data());
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<float> y(d);
    double row_lse;
    norm(one, x.data() + r * d, gamma.data(), nullptr, y.data(), nullptr);
    EXPECT_TRUE(std::equal(y.begin(), y.end(), normed.begin() + r * d)) << r;
    softmax(1, d, x.data() + r * d, y.data());
    EXPECT_TRUE(std::equal(y.begin(), y.end(), soft.begin() + r * d)) << r;
    log_sum_exp(1, d, x.data() + r * d, &row_lse);
    EXPECT_EQ(row_lse, lse[static_cast<size_t>(r)]);
  }
}

TEST_P(Fused, backward_may_write_over_its_input_gradient) {
  const int64_t rows = 70, d = 37;
  const NormShape s{rows, d, true, 1e-5f};
  const std::vector<float> x = random_values(rows * d, -4, 4, 8), dy = random_values(rows * d, -1, 1, 9),
                           gamma = random_values(d, -1, 2, 2);
  std::vector<float> scale(rows), dx(x.size()), dgamma(d), dbeta(d), in_place = dy, dgamma2(d), dbeta2(d);
  norm_scale(s, x.data(), scale.data());
  norm_backward(s, x.data(), gamma.data(), scale.data(), dy.data(), dx.data(), dgamma.data(), dbeta.data());
  norm_backward(s, x.data(), gamma.data(), scale.data(), in_place.data(), in_place.data(), dgamma2.data(), dbeta2.data());
  EXPECT_EQ(dx, in_place);
  EXPECT_EQ(dgamma, dgamma2);
  EXPECT_EQ(dbeta, dbeta2);
  std::vector<float> y(x.size()), soft = x;
  softmax(rows, d, x.data(), y.data());
  softmax(rows, d, soft.data(), soft.data());
  EXPECT_EQ(y, soft);
}

TEST_P(Fused, inverse_rope_returns_the_input) {
  for (const bool adjacent : {false, true}) {
    RopeShape s{6, 3, 20, 14, adjacent, false};
    const std::vector<float> x = random_values(6 * 60, -1, 1, 4);
    std::vector<float> cos(50 * 7), sin(50 * 7), y = x;
    for (size_t i = 0; i < cos.size(); ++i) cos[i] = std::cos(static_cast<float>(i)), sin[i] = std::sin(static_cast<float>(i));
    const std::vector<int32_t> positions = {0, 1, 49, 17, 3, 3};
    rope(s, y.data(), positions.data(), cos.data(), sin.data(), y.data());
    EXPECT_NE(x, y);
    s.inverse = true;
    rope(s, y.data(), positions.data(), cos.data(), sin.data(), y.data());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 5e-7);
  }
}

TEST_P(Fused, activations_stay_accurate_and_finite_over_the_whole_line) {
  std::vector<float> x;
  for (float v = -130; v <= 130; v += 0.0137f) x.push_back(v);
  for (const float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e20f, -1e20f, 3e38f, -3e38f}) x.push_back(v);
  const int64_t n = static_cast<int64_t>(x.size());
  const std::vector<float> ones(x.size(), 1.0f);
  for (const Activation a : {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSilu}) {
    std::vector<float> y(x.size()), slope(x.size());
    activation(a, n, x.data(), y.data());
    activation_backward(a, n, x.data(), ones.data(), slope.data());
    for (size_t i = 0; i < x.size(); ++i) {
      const double size = std::abs(static_cast<double>(x[i]));
      EXPECT_NEAR(y[i], reference::act<double>(a, x[i]), 1.5e-7 * std::max(size, 1e-9))
          << "activation " << static_cast<int>(a) << " at " << x[i];
      if (size < 1e6) {
        EXPECT_NEAR(slope[i], reference::act_derivative<double>(a, x[i]), 5e-7)
            << "slope " << static_cast<int>(a) << " at " << x[i];
      } else {
        EXPECT_TRUE(std::isfinite(slope[i])) << "slope " << static_cast<int>(a) << " at " << x[i];
      }
    }
  }
}

TEST_P(Fused, nan_is_not_swallowed) {
  const float nan = std::nanf("");
  std::vector<float> x = random_values(40, -1, 1, 1), y(40);
  for (const size_t at : {size_t{3}, size_t{39}}) {
    x[at] = nan;
    for (const Activation a : {Activation::kRelu, Activation::kGelu, Activation::kGeluTanh, Activation::kSilu}) {
      activation(a, 40, x.data(), y.data());
      EXPECT_TRUE(std::isnan(y[at])) << static_cast<int>(a);
    }
    softmax(1, 40, x.data(), y.data());
    EXPECT_TRUE(std::isnan(y[at]));
    double lse;
    log_sum_exp(1, 40, x.data(), &lse);
    EXPECT_TRUE(std::isnan(lse));
  }
}

TEST_P(Fused, cross_entropy_is_right_to_a_millionth_on_a_large_vocabulary) {
  const int64_t rows = 3, d = 49152;
  const std::vector<float> x = random_values(rows * d, -20, 20, 12);
  const std::vector<int32_t> targets = {5, 49151, -1};
  std::vector<double> loss(rows), lse(rows), expected(rows), expected_lse(rows);
  cross_entropy(rows, d, x.data(), targets.data(), loss.data(), lse.data());
  reference::cross_entropy<float>(rows, d, x.data(), targets.data(), expected.data(), expected_lse.data());
  for (size_t r = 0; r < 3; ++r) {
    EXPECT_NEAR(loss[r], expected[r], 1e-6);
    EXPECT_NEAR(lse[r], expected_lse[r], 1e-6);
  }
  EXPECT_EQ(loss[2], 0.0);
}

TEST_P(Fused, gradient_at_a_certain_target_keeps_its_small_value) {
  const std::vector<float> x = {30.0f, 0.0f, 1.0f};
  const std::vector<int32_t> target = {0};
  const std::vector<float> weight = {1.0f};
  std::vector<float> dx(3);
  double lse;
  log_sum_exp(1, 3, x.data(), &lse);
  cross_entropy_backward(1, 3, x.data(), target.data(), weight.data(), &lse, dx.data());
  EXPECT_LT(dx[0], 0);
  EXPECT_NEAR(dx[0], -(std::exp(-30.0) + std::exp(-29.0)), 4e-15);
}

TEST_P(Fused, softmax_of_hidden_rows_is_zero) {
  std::vector<float> x(35, -kInfinity), y(35, 5.0f);
  softmax(1, 35, x.data(), y.data());
  EXPECT_EQ(y, std::vector<float>(35, 0.0f));
  x[34] = -7;
  softmax(1, 35, x.data(), y.data());
  EXPECT_EQ(y[34], 1.0f);
  EXPECT_EQ(y[0], 0.0f);
}

TEST_P(Fused, no_rows_is_no_work) {
  const NormShape s{0, 8, true, 1e-5f};
  std::vector<float> sums(8, 3.0f);
  norm(s, nullptr, nullptr, nullptr, nullptr, nullptr);
  norm_backward(s, nullptr, nullptr, nullptr, nullptr, nullptr, sums.data(), sums.data());
  rope({0, 2, 8, 8, false, false}, nullptr, nullptr, nullptr, nullptr, nullptr);
  activation(Activation::kGelu, 0, nullptr, nullptr);
  softmax(0, 8, nullptr, nullptr);
  cross_entropy(0, 8, nullptr, nullptr, nullptr, nullptr);
  column_sums(0, 8, nullptr, sums.data());
  transpose(0, 8, nullptr, nullptr);
  EXPECT_EQ(sums, std::vector<float>(8, 3.0f));
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Fused, testing::ValuesIn(supported_isas()),
                         [](const testing::TestParamInfo<std::string>& info) { return info.param; });

}  // namespace
}  // namespace microtome::op_table
