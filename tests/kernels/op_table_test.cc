// Every operation of the table: value and gradient of the fast kernels against the definition in double, on every
// instruction set; the definition's gradient against finite differences.
#include <gtest/gtest.h>

#include <cmath>

#include "microtome/kernels/isa.h"
#include "op_case.h"

namespace microtome::op_table {
namespace {

constexpr uint64_t kSeed = 1234;

void expect_close(const Arrays<float>& found, const Arrays<double>& expected, double tolerance, const std::string& what) {
  for (size_t a = 0; a < expected.size(); ++a) {
    double largest = 1, worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < expected[a].size(); ++i) {
      largest = std::max(largest, std::abs(expected[a][i]));
      const double error = std::abs(static_cast<double>(found[a][i]) - expected[a][i]);
      if (!(error <= worst)) worst = error, at = i;
    }
    EXPECT_LE(worst, tolerance * largest) << what << ", array " << a << ", value " << at << ": " << found[a][at] << " for "
                                          << expected[a][at];
  }
}

template <class Check>
void on_every_isa(const Check& check) {
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    check(isa);
  }
  set_isa("");
}

class OpTable : public testing::TestWithParam<OpCase> {
 protected:
  const OpCase& op = GetParam();
  Arrays<float> in = random_arrays<float>(op.inputs, op.low, op.high, kSeed);
  Arrays<double> wide_in = random_arrays<double>(op.inputs, op.low, op.high, kSeed);
  Arrays<float> dout = random_arrays<float>(op.outputs, -1, 1, kSeed + 100);
  Arrays<double> wide_dout = random_arrays<double>(op.outputs, -1, 1, kSeed + 100);
};

TEST_P(OpTable, value_matches_definition_on_every_isa) {
  Arrays<double> expected = zeros<double>(op.outputs);
  op.reference(wide_in, expected);
  on_every_isa([&](const std::string& isa) {
    Arrays<float> out = zeros<float>(op.outputs);
    op.fast(in, out);
    expect_close(out, expected, op.tolerance, isa);
  });
}

TEST_P(OpTable, gradient_matches_definition_on_every_isa) {
  if (!op.fast_backward) GTEST_SKIP() << "the gradient needs no kernel";
  Arrays<double> expected = zeros<double>(op.inputs);
  op.reference_backward(wide_in, wide_dout, expected);
  on_every_isa([&](const std::string& isa) {
    Arrays<float> din = zeros<float>(op.inputs);
    op.fast_backward(in, dout, din);
    expect_close(din, expected, op.gradient_tolerance, isa);
  });
}

TEST_P(OpTable, definition_gradient_matches_finite_differences) {
  if (!op.reference_backward) GTEST_SKIP() << "the gradient needs no kernel";
  Arrays<double> din = zeros<double>(op.inputs);
  op.reference_backward(wide_in, wide_dout, din);
  const auto loss = [&] {
    Arrays<double> out = zeros<double>(op.outputs);
    op.reference(wide_in, out);
    double sum = 0;
    for (size_t a = 0; a < out.size(); ++a) {
      for (size_t i = 0; i < out[a].size(); ++i) sum += out[a][i] * wide_dout[a][i];
    }
    return sum;
  };
  const Philox rng(kSeed, "coordinates");
  constexpr uint64_t kCoordinates = 24;
  constexpr double kStep = 1e-5;
  for (size_t a = 0; a < din.size(); ++a) {
    for (uint64_t t = 0; t < kCoordinates; ++t) {
      const size_t i = rng.below(din[a].size(), t, a);
      const double value = wide_in[a][i];
      wide_in[a][i] = value + kStep;
      const double above = loss();
      wide_in[a][i] = value - kStep;
      const double below = loss();
      wide_in[a][i] = value;
      EXPECT_NEAR(din[a][i], (above - below) / (2 * kStep), 1e-6 * std::max(1.0, std::abs(din[a][i])))
          << "input " << a << ", value " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernels, OpTable, testing::ValuesIn(op_cases(Sizes::kTest)),
                         [](const testing::TestParamInfo<OpCase>& info) { return info.param.name; });

}  // namespace
}  // namespace microtome::op_table
