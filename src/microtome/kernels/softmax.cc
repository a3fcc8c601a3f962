#include "microtome/kernels/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/base/threads.h"
#include "microtome/kernels/row_pieces.h"
#include "microtome/kernels/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

void softmax_rows(int64_t d, const float* x, float* y, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) softmax_range(0, d, x + r * d, y + r * d);
}

void softmax_backward_rows(int64_t d, const float* y, const float* dy, float* dx, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* p = y + r * d;
    const float* grad = dy + r * d;
    const VF dot = hn::Set(F32(), reduce(
                                      d, [](VF v, VF g) HWY_ATTR { return hn::Mul(v, g); }, p, grad));
    map(
        d, [&](VF v, VF g) HWY_ATTR { return hn::Mul(v, hn::Sub(g, dot)); }, dx + r * d, p, grad);
  }
}

void log_sum_exp_rows(int64_t d, const float* x, double* lse, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * d;
    const float largest = max_of(d, row);
    if (largest == kInfinity || (largest == -kInfinity && !has_nan(d, row))) {
      lse[r] = largest;
    } else {
      lse[r] = largest + std::log(sum_exp<1>(0, d, row, largest, [](VF, int64_t, int64_t) HWY_ATTR {}));
    }
  }
}

// lse as high + low, so that x - lse is rounded once.
void cross_entropy_backward_rows(int64_t d, const float* x, const int32_t* targets, const float* weight, const double* lse,
                                 float* dx, int64_t begin, int64_t end) {
  const F32 f;
  for (int64_t r = begin; r < end; ++r) {
    float* out = dx + r * d;
    if (targets[r] < 0) {
      std::fill(out, out + d, 0.0f);
      continue;
    }
    const float high = static_cast<float>(lse[r]);
    const VF by = hn::Set(f, weight[r]), first = hn::Set(f, high), second = hn::Set(f, static_cast<float>(lse[r] - high));
    const float at_target = x[r * d + targets[r]];
    map(
        d, [&](VF v) HWY_ATTR { return hn::Mul(by, exp_vector(hn::Sub(hn::Sub(v, first), second))); }, out, x + r * d);
    out[targets[r]] = static_cast<float>(weight[r] * std::expm1(at_target - lse[r]));
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {

HWY_EXPORT(softmax_rows);
HWY_EXPORT(softmax_backward_rows);
HWY_EXPORT(log_sum_exp_rows);
HWY_EXPORT(cross_entropy_backward_rows);

void softmax(int64_t rows, int64_t d, const float* x, float* y) {
  parallel_for(rows, internal::piece_rows(d), [&](int64_t b, int64_t e) { HWY_DYNAMIC_DISPATCH(softmax_rows)(d, x, y, b, e); });
}

void softmax_backward(int64_t rows, int64_t d, const float* y, const float* dy, float* dx) {
  parallel_for(rows, internal::piece_rows(d), [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(softmax_backward_rows)(d, y, dy, dx, b, e);
  });
}

void log_sum_exp(int64_t rows, int64_t d, const float* x, double* lse) {
  parallel_for(rows, internal::piece_rows(d), [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(log_sum_exp_rows)(d, x, lse, b, e);
  });
}

void cross_entropy(int64_t rows, int64_t d, const float* x, const int32_t* targets, double* loss, double* lse) {
  double* row_lse = lse ? lse : loss;
  log_sum_exp(rows, d, x, row_lse);
  for (int64_t r = 0; r < rows; ++r) loss[r] = targets[r] < 0 ? 0.0 : row_lse[r] - static_cast<double>(x[r * d + targets[r]]);
}

void cross_entropy_backward(int64_t rows, int64_t d, const float* x, const int32_t* targets, const float* weight,
                            const double* lse, float* dx) {
  parallel_for(rows, internal::piece_rows(d), [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(cross_entropy_backward_rows)(d, x, targets, weight, lse, dx, b, e);
  });
}

}  // namespace microtome
#endif
