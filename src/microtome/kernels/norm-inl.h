// Mean and scale of a row, computed in one way by every norm kernel. Included once per instruction set.
#if defined(MICROTOME_NORM_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MICROTOME_NORM_INL_H_
#undef MICROTOME_NORM_INL_H_
#else
#define MICROTOME_NORM_INL_H_
#endif

#include <cmath>

#include "microtome/kernels/fused.h"
#include "microtome/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

HWY_INLINE float mean_of(int64_t d, const float* x) {
  return reduce(
             d, [](VF v) HWY_ATTR { return v; }, x) /
         static_cast<float>(d);
}

HWY_INLINE float row_mean(const NormShape& s, const float* x) { return s.center ? mean_of(s.d, x) : 0.0f; }

HWY_INLINE float scale_of_row(const NormShape& s, const float* x, float mu) {
  const VF shift = hn::Set(F32(), mu);
  const auto square = [&](VF v) HWY_ATTR {
    const VF difference = hn::Sub(v, shift);
    return hn::Mul(difference, difference);
  };
  return std::sqrt(reduce(s.d, square, x) / static_cast<float>(s.d) + s.eps);
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MICROTOME_NORM_INL_H_
