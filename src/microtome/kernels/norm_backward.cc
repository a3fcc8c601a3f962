#include "microtome/kernels/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/norm_backward.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/base/threads.h"
#include "microtome/kernels/norm-inl.h"
#include "microtome/kernels/row_pieces.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

// dx = (dn - [mean(dn)] - n mean(dn n)) / scale with dn = dy * gamma, n = (x - mu) / scale.
void norm_backward_rows(const NormShape& s, const float* x, const float* gamma, const float* scale, const float* dy, float* dx,
                        int64_t begin, int64_t end) {
  const F32 d;
  const float width = static_cast<float>(s.d);
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * s.d;
    const float* grad = dy + r * s.d;
    const float inverse = 1.0f / scale[r];
    const VF mu = hn::Set(d, row_mean(s, row)), by = hn::Set(d, inverse);
    float sum = 0, dot;
    if (gamma) {
      if (s.center)
        sum = reduce(
            s.d, [](VF g, VF w) HWY_ATTR { return hn::Mul(g, w); }, grad, gamma);
      dot = reduce(
          s.d, [&](VF v, VF g, VF w) HWY_ATTR { return hn::Mul(hn::Mul(g, w), hn::Mul(hn::Sub(v, mu), by)); }, row, grad, gamma);
    } else {
      if (s.center)
        sum = reduce(
            s.d, [](VF g) HWY_ATTR { return g; }, grad);
      dot = reduce(
          s.d, [&](VF v, VF g) HWY_ATTR { return hn::Mul(g, hn::Mul(hn::Sub(v, mu), by)); }, row, grad);
    }
    const VF mean = hn::Set(d, sum / width), slope = hn::Set(d, dot / width);
    const auto gradient = [&](VF v, VF dn) HWY_ATTR {
      const VF n = hn::Mul(hn::Sub(v, mu), by);
      return hn::Mul(hn::NegMulAdd(n, slope, hn::Sub(dn, mean)), by);
    };
    if (gamma) {
      map(
          s.d, [&](VF v, VF g, VF w) HWY_ATTR { return gradient(v, hn::Mul(g, w)); }, dx + r * s.d, row, grad, gamma);
    } else {
      map(s.d, gradient, dx + r * s.d, row, grad);
    }
  }
}

void norm_scale_backward_rows(const NormShape& s, const float* x, const float* scale, const float* dscale, float* dx,
                              int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * s.d;
    const VF mu = hn::Set(d, row_mean(s, row)), by = hn::Set(d, dscale[r] / (scale[r] * static_cast<float>(s.d)));
    map(
        s.d, [&](VF v) HWY_ATTR { return hn::Mul(hn::Sub(v, mu), by); }, dx + r * s.d, row);
  }
}

void norm_normalize_backward_rows(const NormShape& s, const float* x, const float* scale, const float* dn, float* dx,
                                  float* dscale, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t r = begin; r < end; ++r) {
    const float* row = x + r * s.d;
    const float* grad = dn + r * s.d;
    const float inverse = 1.0f / scale[r];
    const VF mu = hn::Set(d, row_mean(s, row)), by = hn::Set(d, inverse), mean = hn::Set(d, row_mean(s, grad));
    const float dot = reduce(
        s.d, [&](VF v, VF g) HWY_ATTR { return hn::Mul(g, hn::Sub(v, mu)); }, row, grad);
    map(
        s.d, [&](VF g) HWY_ATTR { return hn::Mul(hn::Sub(g, mean), by); }, dx + r * s.d, grad);
    dscale[r] = -dot * inverse * inverse;
  }
}

// Mean and 1 / scale of rows [begin, end), at mu[r - first], inverse[r - first].
void norm_row_statistics(const NormShape& s, const float* x, const float* scale, int64_t first, float* mu, float* inverse,
                         int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    mu[r - first] = row_mean(s, x + r * s.d);
    inverse[r - first] = 1.0f / scale[r];
  }
}

// dgamma[c] += sum over rows of dy * n for columns [begin, end); n = (x - mu[r]) * inverse[r], or x itself if mu is null.
template <int V>
HWY_INLINE void gamma_columns(int64_t rows, int64_t d, const float* x, const float* mu, const float* inverse, const float* dy,
                              float* dgamma, int64_t c, int64_t width) {
  const F32 f;
  const auto load = [&](const float* p, int v)
                        HWY_ATTR { return width == V * kLanes ? hn::LoadU(f, p + v * kLanes) : load_first(p, width, 0.0f); };
  VF sum[V];
  MT_UNROLL for (int v = 0; v < V; ++v) sum[v] = hn::Zero(f);
  for (int64_t r = 0; r < rows; ++r) {
    const VF shift = hn::Set(f, mu ? mu[r] : 0.0f), by = hn::Set(f, mu ? inverse[r] : 1.0f);
    MT_UNROLL for (int v = 0; v < V; ++v) {
      const VF n = hn::Mul(hn::Sub(load(x + r * d + c, v), shift), by);
      sum[v] = hn::MulAdd(load(dy + r * d + c, v), n, sum[v]);
    }
  }
  MT_UNROLL for (int v = 0; v < V; ++v) {
    float* to = dgamma + c + v * kLanes;
    if (width == V * kLanes) {
      hn::StoreU(hn::Add(hn::LoadU(f, to), sum[v]), f, to);
    } else {
      store_first(hn::Add(load_first(to, width, 0.0f), sum[v]), to, width);
    }
  }
}

void norm_gamma_columns(int64_t rows, int64_t d, const float* x, const float* mu, const float* inverse, const float* dy,
                        float* dgamma, int64_t begin, int64_t end) {
  for (int64_t first = 0; first < rows; first += internal::kColumnBlockRows) {
    const int64_t n = std::min(internal::kColumnBlockRows, rows - first), at = first * d;
    const float* row_mu = mu ? mu + first : nullptr;
    const float* row_inverse = mu ? inverse + first : nullptr;
    int64_t c = begin;
    for (; c + 4 * kLanes <= end; c += 4 * kLanes)
      gamma_columns<4>(n, d, x + at, row_mu, row_inverse, dy + at, dgamma, c, 4 * kLanes);
    for (; c < end; c += kLanes) {
      gamma_columns<1>(n, d, x + at, row_mu, row_inverse, dy + at, dgamma, c, std::min(kLanes, end - c));
    }
  }
}

void norm_affine_backward_rows(int64_t d, const float* gamma, const float* dy, float* dn, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    if (gamma) {
      map(
          d, [](VF g, VF w) HWY_ATTR { return hn::Mul(g, w); }, dn + r * d, dy + r * d, gamma);
    } else {
      map(
          d, [](VF g) HWY_ATTR { return g; }, dn + r * d, dy + r * d);
    }
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {

HWY_EXPORT(norm_backward_rows);
HWY_EXPORT(norm_scale_backward_rows);
HWY_EXPORT(norm_normalize_backward_rows);
HWY_EXPORT(norm_row_statistics);
HWY_EXPORT(norm_gamma_columns);
HWY_EXPORT(norm_affine_backward_rows);

// Parameters first: dx may be dy or x.
void norm_backward(const NormShape& s, const float* x, const float* gamma, const float* scale, const float* dy, float* dx,
                   float* dgamma, float* dbeta) {
  if (dbeta) column_sums(s.rows, s.d, dy, dbeta);
  constexpr int64_t kStatisticsRows = 512;  // a multiple of kColumnBlockRows
  float mu[kStatisticsRows], inverse[kStatisticsRows];
  for (int64_t first = 0; dgamma && first < s.rows; first += kStatisticsRows) {
    const int64_t rows = std::min(kStatisticsRows, s.rows - first), at = first * s.d;
    parallel_for(rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(norm_row_statistics)(s, x, scale, first, mu, inverse, first + begin, first + end);
    });
    parallel_for(s.d, internal::kPieceColumns, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(norm_gamma_columns)(rows, s.d, x + at, mu, inverse, dy + at, dgamma, begin, end);
    });
  }
  parallel_for(s.rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_backward_rows)(s, x, gamma, scale, dy, dx, begin, end);
  });
}

void norm_scale_backward(const NormShape& s, const float* x, const float* scale, const float* dscale, float* dx) {
  parallel_for(s.rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_scale_backward_rows)(s, x, scale, dscale, dx, begin, end);
  });
}

void norm_normalize_backward(const NormShape& s, const float* x, const float* scale, const float* dn, float* dx, float* dscale) {
  parallel_for(s.rows, internal::piece_rows(s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_normalize_backward_rows)(s, x, scale, dn, dx, dscale, begin, end);
  });
}

void norm_affine_backward(int64_t rows, int64_t d, const float* n, const float* gamma, const float* dy, float* dn, float* dgamma,
                          float* dbeta) {
  if (dbeta) column_sums(rows, d, dy, dbeta);
  if (dgamma) {
    parallel_for(d, internal::kPieceColumns, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(norm_gamma_columns)(rows, d, n, nullptr, nullptr, dy, dgamma, begin, end);
    });
  }
  parallel_for(rows, internal::piece_rows(d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(norm_affine_backward_rows)(d, gamma, dy, dn, begin, end);
  });
}

}  // namespace microtome
#endif
