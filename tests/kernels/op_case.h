// One case of the table of operations: shapes, the definition in double, the fast kernel, and both gradients. Tests and
// benchmarks read nothing else.
//
// An operation is written once, over a set of kernels K (Fast, or Reference<double>), as a type with
//   template <class K> static void forward(const S& shape, const Arrays<typename K::T>& in, Arrays<typename K::T>& out)
//   template <class K> static void backward(shape, in, dout, din)        if its gradient has kernels; din comes zeroed
//   static std::function<void()> prepare(shape, in, out)                 if forward has to set up more than the kernel's work
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "microtome/base/rng.h"
#include "microtome/kernels/attention.h"
#include "microtome/kernels/fused.h"
#include "microtome/kernels/reference.h"

namespace microtome::op_table {

template <class T>
using Arrays = std::vector<std::vector<T>>;

enum class Sizes { kTest, kBench };

struct OpCase {
  std::string name;
  std::vector<int64_t> inputs, outputs;  // number of values of each array
  double low = -3, high = 3;             // inputs are uniform in between
  double tolerance = 1e-6;               // on values, relative to max(1, largest value)
  double gradient_tolerance = 2e-6;
  double flops = 0, bytes = 0;  // of one forward
  std::function<void(const Arrays<float>&, Arrays<float>&)> fast;
  std::function<void(const Arrays<double>&, Arrays<double>&)> reference;
  std::function<std::function<void()>(const Arrays<float>&, Arrays<float>&)> prepare;  // the fast kernel, ready to be timed
  std::function<void(const Arrays<float>&, const Arrays<float>&, Arrays<float>&)> fast_backward;          // may be empty
  std::function<void(const Arrays<double>&, const Arrays<double>&, Arrays<double>&)> reference_backward;  // may be empty
};

// Both sets of kernels under the same names.
#define MT_OP_KERNELS(each)                                                                                             \
  each(norm) each(norm_scale) each(norm_normalize) each(norm_affine) each(norm_backward) each(norm_scale_backward)      \
      each(norm_normalize_backward) each(norm_affine_backward) each(rope) each(activation) each(activation_backward)    \
          each(gated_activation) each(gated_activation_backward) each(softmax) each(softmax_backward) each(log_sum_exp) \
              each(cross_entropy) each(cross_entropy_backward) each(add) each(multiply) each(scale_by) each(add_scaled) \
                  each(add_bias) each(column_sums) each(transpose)

struct Fast {
  using T = float;
#define MT_FAST(name)               \
  template <class... A>             \
  static void name(const A&... a) { \
    microtome::name(a...);          \
  }
  MT_OP_KERNELS(MT_FAST)
#undef MT_FAST
};

template <class Real>
struct Reference {
  using T = Real;
#define MT_REFERENCE(name)          \
  template <class... A>             \
  static void name(const A&... a) { \
    reference::name<Real>(a...);    \
  }
  MT_OP_KERNELS(MT_REFERENCE)
#undef MT_REFERENCE
};

template <class T>
Arrays<T> zeros(const std::vector<int64_t>& sizes) {
  Arrays<T> arrays;
  for (const int64_t n : sizes) arrays.emplace_back(static_cast<size_t>(n), T(0));
  return arrays;
}

// Values that are exact in f32, so that both precisions start from the same numbers.
template <class T>
Arrays<T> random_arrays(const std::vector<int64_t>& sizes, double low, double high, uint64_t seed) {
  Arrays<T> arrays = zeros<T>(sizes);
  for (size_t a = 0; a < arrays.size(); ++a) {
    const Philox rng(seed + a, "op table");
    for (size_t i = 0; i < arrays[a].size(); ++i) arrays[a][i] = static_cast<float>(low + (high - low) * rng.uniform(i));
  }
  return arrays;
}

template <class Op, class S>
OpCase make_case(const std::string& name, const S& shape, std::vector<int64_t> inputs, std::vector<int64_t> outputs) {
  OpCase c;
  c.name = name;
  c.inputs = std::move(inputs);
  c.outputs = std::move(outputs);
  for (const int64_t n : c.inputs) c.bytes += 4.0 * static_cast<double>(n);
  for (const int64_t n : c.outputs) c.bytes += 4.0 * static_cast<double>(n);
  c.fast = [shape](const Arrays<float>& in, Arrays<float>& out) { Op::template forward<Fast>(shape, in, out); };
  c.prepare = [shape](const Arrays<float>& in, Arrays<float>& out) -> std::function<void()> {
    if constexpr (requires { Op::prepare(shape, in, out); }) {
      return Op::prepare(shape, in, out);
    } else {
      return [shape, &in, &out] { Op::template forward<Fast>(shape, in, out); };
    }
  };
  c.reference = [shape](const Arrays<double>& in, Arrays<double>& out) {
    Op::template forward<Reference<double>>(shape, in, out);
  };
  if constexpr (requires(Arrays<float> & a) { Op::template backward<Fast>(shape, a, a, a); }) {
    c.fast_backward = [shape](const Arrays<float>& in, const Arrays<float>& dout, Arrays<float>& din) {
      Op::template backward<Fast>(shape, in, dout, din);
    };
    c.reference_backward = [shape](const Arrays<double>& in, const Arrays<double>& dout, Arrays<double>& din) {
      Op::template backward<Reference<double>>(shape, in, dout, din);
    };
  }
  return c;
}

// The table.
std::vector<OpCase> norm_cases(Sizes sizes);
std::vector<OpCase> map_cases(Sizes sizes);
std::vector<OpCase> attention_cases(Sizes sizes);

inline std::vector<OpCase> op_cases(Sizes sizes) {
  std::vector<OpCase> all = norm_cases(sizes);
  for (OpCase& c : map_cases(sizes)) all.push_back(std::move(c));
  for (OpCase& c : attention_cases(sizes)) all.push_back(std::move(c));
  return all;
}

}  // namespace microtome::op_table
