#include "microtome/kernels/attention_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/attention_softmax.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/kernels/softmax-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

void attention_softmax_rows(const QueryRow* rows, int64_t n_rows, float* scores, int64_t ld, float* lse) {
  for (int64_t i = 0; i < n_rows; ++i) {
    float* row = scores + i * ld;
    const float row_lse = softmax_range(std::min(rows[i].begin, rows[i].end), rows[i].end, row, row);
    if (lse) lse[i] = row_lse;
  }
}

void softmax_backward_row(const QueryRow& row, const float* pattern, const float* dpattern, float dlse, float* dscores) {
  const int64_t n = std::max(0, row.end - row.begin);
  const float* p = pattern + row.begin;
  const float* grad = dpattern + row.begin;
  const float dot = reduce(
      n, [](VF v, VF g) HWY_ATTR { return hn::Mul(v, g); }, p, grad);
  const VF shift = hn::Set(F32(), dlse - dot);
  map(
      n, [&](VF v, VF g) HWY_ATTR { return hn::Mul(v, hn::Add(g, shift)); }, dscores + row.begin, p, grad);
  std::fill(dscores, dscores + std::min(row.begin, row.end), 0.0f);
}

void cap_backward_row(const QueryRow& row, float scale, float softcap, const float* scores, const float* dscores, float* out) {
  const F32 d;
  const int64_t at = row.begin, n = std::max(0, row.end - row.begin);
  const VF by = hn::Set(d, scale);
  if (!(softcap > 0)) {
    map(
        n, [&](VF g) HWY_ATTR { return hn::Mul(g, by); }, out + at, dscores + at);
    return;
  }
  const VF inverse = hn::Set(d, 1.0f / softcap), one = hn::Set(d, 1.0f);
  const auto slope = [&](VF g, VF cap) HWY_ATTR {
    const VF t = hn::Mul(cap, inverse);
    const VF value = hn::Mul(hn::Mul(g, by), hn::NegMulAdd(t, t, one));
    return hn::IfThenElse(hn::Eq(g, hn::Zero(d)), g, value);  // a key hidden by an infinite bias
  };
  if (row.bias) {
    map(
        n, [&](VF g, VF s, VF b) HWY_ATTR { return slope(g, hn::Sub(s, b)); }, out + at, dscores + at, scores + at,
        row.bias + at);
  } else {
    map(n, slope, out + at, dscores + at, scores + at);
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {
HWY_EXPORT(attention_softmax_rows);
HWY_EXPORT(softmax_backward_row);
HWY_EXPORT(cap_backward_row);

void attention_softmax(const QueryRow* rows, int64_t n_rows, float* scores, int64_t ld, float* lse) {
  HWY_DYNAMIC_DISPATCH(attention_softmax_rows)(rows, n_rows, scores, ld, lse);
}

void attention_softmax_backward(const QueryRow* rows, int64_t n_rows, const float* pattern, const float* dpattern, int64_t ld,
                                float* dscores) {
  for (int64_t i = 0; i < n_rows; ++i) {
    internal::attention_softmax_backward_row(rows[i], pattern + i * ld, dpattern + i * ld, 0.0f, dscores + i * ld);
  }
}

void internal::attention_softmax_backward_row(const QueryRow& row, const float* pattern, const float* dpattern, float dlse,
                                              float* dscores) {
  HWY_DYNAMIC_DISPATCH(softmax_backward_row)(row, pattern, dpattern, dlse, dscores);
}

void internal::attention_cap_backward_row(const QueryRow& row, float scale, float softcap, const float* scores,
                                          const float* dscores, float* out) {
  HWY_DYNAMIC_DISPATCH(cap_backward_row)(row, scale, softcap, scores, dscores, out);
}

}  // namespace microtome
#endif
