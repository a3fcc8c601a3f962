// Vectors of f32 for the fused kernels: loads that stop at the end of a row, sums in a fixed order, exp, tanh and the normal
// distribution.
//
//   map(n, [](VF x) HWY_ATTR { return exp_vector(x); }, y, x);     // y[i] = e^x[i]
//
// Errors: exp_vector 1.5 ulp; tanh_vector 2 ulp; normal_cdf 1e-7 absolute. NaN in, NaN out. Included once per instruction
// set, between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE.
#if defined(MICROTOME_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MICROTOME_VECTOR_MATH_INL_H_
#undef MICROTOME_VECTOR_MATH_INL_H_
#else
#define MICROTOME_VECTOR_MATH_INL_H_
#endif

#include <cstdint>
#include <cstring>
#include <limits>

#include "hwy/highway.h"

#ifndef MT_UNROLL
#define MT_UNROLL _Pragma("GCC unroll 16")
#endif

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using F32 = hn::ScalableTag<float>;
using I32 = hn::RebindToSigned<F32>;
using F64 = hn::ScalableTag<double>;
using VF = hn::Vec<F32>;
using VD = hn::Vec<F64>;
constexpr int64_t kLanes = HWY_LANES(float);
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The first n < kLanes values at p, then `fill`.
HWY_INLINE VF load_first(const float* p, int64_t n, float fill) {
  HWY_ALIGN float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = i < n ? p[i] : fill;
  return hn::Load(F32(), lanes);
}

HWY_INLINE void store_first(VF v, float* p, int64_t n) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, F32(), lanes);
  for (int64_t i = 0; i < n; ++i) p[i] = lanes[i];
}

// Lanes in a fixed tree: halves are added until one lane is left.
HWY_INLINE float sum_lanes(VF v) {
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, F32(), lanes);
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

HWY_INLINE double sum_lanes(VD v) {
  HWY_ALIGN double lanes[HWY_LANES(double)];
  hn::Store(v, F64(), lanes);
  for (size_t half = HWY_LANES(double) / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

// sum + v, widened to double.
HWY_INLINE VD add_widened(VD sum, VF v) {
  const F64 d;
#if HWY_TARGET == HWY_SCALAR
  return hn::Add(sum, hn::PromoteTo(d, v));
#else
  const hn::Half<F32> half;
  return hn::Add(sum, hn::Add(hn::PromoteTo(d, hn::LowerHalf(half, v)), hn::PromoteTo(d, hn::UpperHalf(half, v))));
#endif
}

// out[i] = op(in[i]...) for i < n; out may be one of the inputs.
template <class Op, class... In>
HWY_INLINE void map(int64_t n, const Op& op, float* out, const In*... in) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(op(hn::LoadU(d, in + i)...), d, out + i);
  if (i < n) store_first(op(load_first(in + i, n - i, 0.0f)...), out + i, n - i);
}

// sum over i < n of op(in[i]...): two sums per lane, then the lanes.
template <class Op, class... In>
HWY_INLINE float reduce(int64_t n, const Op& op, const In*... in) {
  const F32 d;
  VF even = hn::Zero(d), odd = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    even = hn::Add(even, op(hn::LoadU(d, in + i)...));
    odd = hn::Add(odd, op(hn::LoadU(d, in + i + kLanes)...));
  }
  if (i + kLanes <= n) {
    even = hn::Add(even, op(hn::LoadU(d, in + i)...));
    i += kLanes;
  }
  if (i < n) {
    HWY_ALIGN float lanes[kLanes];
    hn::Store(op(load_first(in + i, n - i, 0.0f)...), d, lanes);
    odd = hn::Add(odd, load_first(lanes, n - i, 0.0f));
  }
  return sum_lanes(hn::Add(even, odd));
}

HWY_INLINE float max_of(int64_t n, const float* x) {
  const F32 d;
  VF largest = hn::Set(d, -kInfinity), second = largest;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    largest = hn::Max(largest, hn::LoadU(d, x + i));
    second = hn::Max(second, hn::LoadU(d, x + i + kLanes));
  }
  for (; i < n; i += kLanes)
    largest = hn::Max(largest, i + kLanes <= n ? hn::LoadU(d, x + i) : load_first(x + i, n - i, -kInfinity));
  return hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest, second)));
}

inline bool has_nan(int64_t n, const float* x) {
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] != x[i]) return true;
  }
  return false;
}

// e^x for x <= 88: 2^n e^r with n = round(x / ln 2), e^r = 1 + r + r^2 P(r) (minimax, 3e-9). 0 below -87.3.
HWY_INLINE VF exp_below_88(VF x) {
  const F32 d;
  const I32 di;
  const VF magic = hn::Set(d, 12582912.0f + 127.0f);  // 1.5 * 2^23 leaves n in the low bits, 127 makes it an exponent
  const VF shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), magic);
  const VF n = hn::Sub(shifted, magic);
  const VF r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), x));
  VF p = hn::Set(d, 0.00138145383f);
  p = hn::MulAdd(p, r, hn::Set(d, 0.00836874545f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.041668389f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.166665211f));
  p = hn::MulAdd(p, r, hn::Set(d, 0.49999994f));
  p = hn::Add(hn::MulAdd(hn::Mul(r, r), p, r), hn::Set(d, 1.0f));
  const VF power = hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.33f)), hn::Mul(p, power));
}

// e^x; e^87.3 above 87.3, so that 1 / (1 + e^x) is never subnormal (and slow).
HWY_INLINE VF exp_vector(VF x) {
  const VF highest = hn::Set(F32(), 87.3f);
  return exp_below_88(hn::IfThenElse(hn::Gt(x, highest), highest, x));
}

// x + x^3 P(x^2) (minimax, 1e-9) below .55, 1 - 2 / (e^2x + 1) above.
HWY_INLINE VF tanh_vector(VF x) {
  const F32 d;
  const VF a = hn::Abs(x), z = hn::Mul(x, x), one = hn::Set(d, 1.0f);
  VF p = hn::Set(d, -0.0062823873f);
  p = hn::MulAdd(p, z, hn::Set(d, 0.0210777055f));
  p = hn::MulAdd(p, z, hn::Set(d, -0.053853847f));
  p = hn::MulAdd(p, z, hn::Set(d, 0.133326009f));
  p = hn::MulAdd(p, z, hn::Set(d, -0.333333194f));
  const VF small = hn::MulAdd(hn::Mul(p, z), x, x);
  const VF large = hn::Sub(one, hn::Div(hn::Set(d, 2.0f), hn::Add(exp_vector(hn::Add(a, a)), one)));
  return hn::IfThenElse(hn::Lt(a, hn::Set(d, 0.55f)), small, hn::CopySign(large, x));
}

// Phi(x) = erfc(-x / sqrt 2) / 2, from Phi(-a) = e^(a P(a)) / 2 (minimax of the product, 3e-8); 0 and 1 beyond 5.8.
HWY_INLINE VF normal_cdf(VF x) {
  const F32 d;
  const VF a = hn::Abs(x);
  VF p = hn::Set(d, 3.124128796e-07f);
  p = hn::MulAdd(p, a, hn::Set(d, -6.083600965e-06f));
  p = hn::MulAdd(p, a, hn::Set(d, 4.920328138e-05f));
  p = hn::MulAdd(p, a, hn::Set(d, -1.897580223e-04f));
  p = hn::MulAdd(p, a, hn::Set(d, -5.400013947e-07f));
  p = hn::MulAdd(p, a, hn::Set(d, 4.813452717e-03f));
  p = hn::MulAdd(p, a, hn::Set(d, -3.634911031e-02f));
  p = hn::MulAdd(p, a, hn::Set(d, -3.183071911e-01f));
  p = hn::MulAdd(p, a, hn::Set(d, -7.978847623e-01f));
  const VF tail = hn::Mul(hn::Set(d, 0.5f), exp_below_88(hn::Mul(a, p)));
  const VF below = hn::IfThenElse(hn::Gt(a, hn::Set(d, 5.8f)), hn::Zero(d), tail);
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), below, hn::Sub(hn::Set(d, 1.0f), below));
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MICROTOME_VECTOR_MATH_INL_H_
