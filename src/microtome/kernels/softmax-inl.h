// Sums of exponentials over a range of a row, for softmax, cross-entropy and attention. Included once per instruction set.
//
// The order of summation depends on the absolute index j alone: lane j mod kLanes, in f32 over kVectors vectors, then in double.
#if defined(MICROTOME_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MICROTOME_SOFTMAX_INL_H_
#undef MICROTOME_SOFTMAX_INL_H_
#else
#define MICROTOME_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <cmath>

#include "microtome/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

// sum of e^(x[j] - largest) for begin <= j < end; calls keep(e, j, n) with each vector of terms, the first n of them real.
// Terms outside [begin, end) are 0.
template <int64_t kVectors, class Keep>
HWY_INLINE double sum_exp(int64_t begin, int64_t end, const float* x, float largest, const Keep& keep) {
  const F32 d;
  const VF shift = hn::Set(d, largest);
  VD total = hn::Zero(F64());
  constexpr int64_t kStep = kVectors * kLanes;
  for (int64_t block = begin / kStep * kStep; block < end; block += kStep) {
    VF sum = hn::Zero(d);
    const int64_t stop = std::min(end, block + kStep);
    for (int64_t j = block; j < stop; j += kLanes) {
      VF v;
      if (j >= begin && j + kLanes <= end) {
        v = hn::LoadU(d, x + j);
      } else {
        HWY_ALIGN float lanes[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) lanes[i] = j + i >= begin && j + i < end ? x[j + i] : -kInfinity;
        v = hn::Load(d, lanes);
      }
      const VF e = exp_below_88(hn::Sub(v, shift));
      sum = hn::Add(sum, e);
      keep(e, j, std::min(kLanes, end - j));
    }
    total = add_widened(total, sum);
  }
  return sum_lanes(total);
}

// y[j] = e^x[j] / Z for begin <= j < end, 0 below begin; returns ln Z. No key, or all -inf: zeros and -inf. y may be x.
HWY_INLINE float softmax_range(int64_t begin, int64_t end, const float* x, float* y) {
  const F32 d;
  const float largest = end > begin ? max_of(end - begin, x + begin) : -kInfinity;
  if (largest == -kInfinity && !has_nan(std::max<int64_t>(0, end - begin), x + begin)) {
    std::fill(y, y + std::max<int64_t>(0, end), 0.0f);
    return -kInfinity;
  }
  const double sum = sum_exp<8>(begin, end, x, largest, [&](VF e, int64_t j, int64_t n) HWY_ATTR {
    n == kLanes ? hn::StoreU(e, d, y + j) : store_first(e, y + j, n);
  });
  const VF inverse = hn::Set(d, static_cast<float>(1.0 / sum));
  map(
      end - begin, [&](VF e) HWY_ATTR { return hn::Mul(e, inverse); }, y + begin, y + begin);
  std::fill(y, y + begin, 0.0f);
  return static_cast<float>(largest + std::log(sum));
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MICROTOME_SOFTMAX_INL_H_
