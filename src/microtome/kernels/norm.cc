#include <cmath>

#include "microtome/kernels/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/norm.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/base/threads.h"
#include "microtome/kernels/norm-inl.h"
#include "microtome/kernels/row_pieces.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

struct Unchanged {
  HWY_INLINE VF operator()(VF x) const { return x; }
};

struct Normalized {
  VF mu, scale;
  HWY_INLINE VF operator()(VF x) const { return hn::Div(hn::Sub(x, mu), scale); }
};

// y = first(x) * gamma + beta: the one expression behind norm and norm_affine.
template <class First>
HWY_INLINE void affine_row(int64_t d, const First& first, const float* x, const float* gamma, const float* beta, float* y) {
  if (gamma && beta) {
    map(
        d, [&](VF v, VF g, VF b) HWY_ATTR { return hn::MulAdd(first(v), g, b); }, y, x, gamma, beta);
  } else if (gamma) {
    map(
        d, [&](VF v, VF g) HWY_ATTR { return hn::Mul(first(v), g); }, y, x, gamma);
  } else if (beta) {
    map(
        d, [&](VF v, VF b) HWY_ATTR { return hn::Add(first(v), b); }, y, x, beta);
  } else {
    map(
        d, [&](VF v) HWY_ATTR { return first(v); }, y, x);
  }
}

void norm_rows(const NormShape& s, const float* x, const float* gamma, const float* beta, float* y, float* scale, int64_t begin,
               int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * s.d;
    const float mu = row_mean(s, row);
    const float row_scale = scale_of_row(s, row, mu);
    if (scale) scale[r] = row_scale;
    affine_row(s.d, Normalized{hn::Set(d, mu), hn::Set(d, row_scale)}, row, gamma, beta, y + r * s.d);
  }
}

void norm_scale_rows(const NormShape& s, const float* x, float* scale, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) scale[r] = scale_of_row(s, x + r * s.d, row_mean(s, x + r * s.d));
}

void norm_normalize_rows(const NormShape& s, const float* x, const float* scale, float* n, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * s.d;
    affine_row(s.d, Normalized{hn::Set(d, row_mean(s, row)), hn::Set(d, scale[r])}, row, nullptr, nullptr, n + r * s.d);
  }
}

void norm_affine_rows(int64_t d, const float* n, const float* gamma, const float* beta, float* y, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) affine_row(d, Unchanged(), n + r * d, gamma, beta, y + r * d);
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {

HWY_EXPORT(norm_rows);
HWY_EXPORT(norm_scale_rows);
HWY_EXPORT(norm_normalize_rows);
HWY_EXPORT(norm_affine_rows);

void norm(const NormShape& s, const float* x, const float* gamma, const float* beta, float* y, float* scale) {
  parallel_for(s.rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_rows)(s, x, gamma, beta, y, scale, begin, end);
  });
}

void norm_scale(const NormShape& s, const float* x, float* scale) {
  parallel_for(s.rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_scale_rows)(s, x, scale, begin, end);
  });
}

void norm_normalize(const NormShape& s, const float* x, const float* scale, float* n) {
  parallel_for(s.rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_normalize_rows)(s, x, scale, n, begin, end);
  });
}

void norm_affine(int64_t rows, int64_t d, const float* n, const float* gamma, const float* beta, float* y) {
  parallel_for(rows, internal::piece_rows(d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_affine_rows)(d, n, gamma, beta, y, begin, end);
  });
}

}  // namespace microtome
#endif
