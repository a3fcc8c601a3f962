// Gradients of any function of tensors, against finite differences.
//
//   expect_gradients([&](Tape* tape, const std::vector<Value>& in) { return call<Add>(tape, ctx, {2}, in[0], in[1]); }, {a, b});
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <vector>

#include "microtome/base/rng.h"
#include "microtome/tape/tape.h"

namespace microtome {

using TensorFunction = std::function<Value(Tape*, const std::vector<Value>&)>;

inline const OpContext& test_context() {
  static Arena arena;
  static const OpContext ctx{arena, backend(Device::kCpu)};
  return ctx;
}

inline Tensor random_tensor(Shape shape, uint64_t seed) {
  const Philox rng(seed, "test tensor");
  Tensor t = Tensor::empty(std::move(shape));
  for (int64_t i = 0; i < t.numel(); ++i) t.f32()[i] = static_cast<float>(rng.normal(i));
  return t;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.numel() == b.numel() && std::memcmp(a.f32(), b.f32(), static_cast<size_t>(a.numel()) * sizeof(float)) == 0;
}

// Gradients of <seed, fn(in)> in the inputs whose bit is set in `wanted`; the others are undefined.
inline std::vector<Tensor> gradients_of(const TensorFunction& fn, const std::vector<Tensor>& in, const Tensor& seed,
                                        unsigned wanted = ~0u) {
  Tape tape(test_context());
  std::vector<Value> values;
  for (size_t i = 0; i < in.size(); ++i) values.push_back(wanted >> i & 1 ? tape.leaf(in[i]) : Value(in[i]));
  tape.backward(fn(&tape, values), seed);
  std::vector<Tensor> gradients;
  for (const Value& v : values) gradients.push_back(tape.gradient(v));
  return gradients;
}

// Every coordinate of every input; and each input's gradient has the same bits when it alone is wanted (what an operation keeps
// depends on what is wanted). Losses are summed in double; the step balances f32's rounding against curvature.
inline void expect_gradients(const TensorFunction& fn, std::vector<Tensor> in, double tolerance = 2e-3) {
  const auto value = [&] { return fn(nullptr, std::vector<Value>(in.begin(), in.end())).data; };
  const Tensor seed = random_tensor(value().shape(), 99);
  const auto loss = [&] {
    const Tensor y = value();
    double sum = 0;
    for (int64_t i = 0; i < y.numel(); ++i) sum += static_cast<double>(y.f32()[i]) * seed.f32()[i];
    return sum;
  };
  const std::vector<Tensor> gradients = gradients_of(fn, in, seed);
  constexpr float kStep = 0x1p-7f;
  for (size_t a = 0; a < in.size(); ++a) {
    ASSERT_TRUE(gradients[a].defined()) << "input " << a;
    ASSERT_EQ(gradients[a].numel(), in[a].numel());
    for (int64_t i = 0; i < in[a].numel(); ++i) {
      float& x = in[a].f32()[i];
      const float before = x;
      x = before + kStep;
      const float high = x;
      const double above = loss();
      x = before - kStep;
      const double expected = (above - loss()) / (static_cast<double>(high) - x), found = gradients[a].f32()[i];
      x = before;
      EXPECT_NEAR(found, expected, tolerance * std::max(1.0, std::abs(expected))) << "input " << a << ", value " << i;
    }
    EXPECT_TRUE(same_bits(gradients_of(fn, in, seed, 1u << a)[a], gradients[a])) << "input " << a << " alone";
  }
}

}  // namespace microtome
