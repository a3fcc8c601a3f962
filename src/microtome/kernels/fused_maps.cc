#include "microtome/kernels/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/fused_maps.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/base/threads.h"
#include "microtome/kernels/row_pieces.h"
#include "microtome/kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

void add_range(int64_t n, const float* a, const float* b, float* y) {
  map(
      n, [](VF v, VF w) HWY_ATTR { return hn::Add(v, w); }, y, a, b);
}

void multiply_range(int64_t n, const float* a, const float* b, float* y) {
  map(
      n, [](VF v, VF w) HWY_ATTR { return hn::Mul(v, w); }, y, a, b);
}

void scale_by_range(int64_t n, float factor, const float* x, float* y) {
  const VF by = hn::Set(F32(), factor);
  map(
      n, [&](VF v) HWY_ATTR { return hn::Mul(v, by); }, y, x);
}

void add_scaled_range(int64_t n, float factor, const float* x, float* y) {
  const VF by = hn::Set(F32(), factor);
  map(
      n, [&](VF v, VF sum) HWY_ATTR { return hn::MulAdd(v, by, sum); }, y, x, y);
}

void add_bias_rows(int64_t d, const float* x, const float* bias, float* y, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) add_range(d, x + r * d, bias, y + r * d);
}

template <int V>
HWY_INLINE void sum_columns(int64_t rows, int64_t d, const float* x, float* sums) {
  const F32 f;
  VF sum[V];
  MT_UNROLL for (int v = 0; v < V; ++v) sum[v] = hn::Zero(f);
  for (int64_t r = 0; r < rows; ++r) {
    MT_UNROLL for (int v = 0; v < V; ++v) sum[v] = hn::Add(sum[v], hn::LoadU(f, x + r * d + v * kLanes));
  }
  MT_UNROLL for (int v = 0; v < V; ++v) hn::StoreU(hn::Add(hn::LoadU(f, sums + v * kLanes), sum[v]), f, sums + v * kLanes);
}

void column_sums_range(int64_t rows, int64_t d, const float* x, float* sums, int64_t begin, int64_t end) {
  for (int64_t first = 0; first < rows; first += internal::kColumnBlockRows) {
    const int64_t n = std::min(internal::kColumnBlockRows, rows - first);
    const float* block = x + first * d;
    int64_t c = begin;
    for (; c + 4 * kLanes <= end; c += 4 * kLanes) sum_columns<4>(n, d, block + c, sums + c);
    for (; c + kLanes <= end; c += kLanes) sum_columns<1>(n, d, block + c, sums + c);
    for (; c < end; ++c) {
      float sum = 0;
      for (int64_t r = 0; r < n; ++r) sum += block[r * d + c];
      sums[c] += sum;
    }
  }
}

// Columns [begin, end) of x become rows of y.
void transpose_range(int64_t rows, int64_t d, const float* x, float* y, int64_t begin, int64_t end) {
  const F32 f;
  int64_t r = 0;
  for (; r + kLanes <= rows; r += kLanes) {
    const float* from[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) from[i] = x + (r + i) * d;
    int64_t c = begin;
    for (; c + 4 <= end; c += 4) {
      const Columns4 t = load_columns(from, c);
      hn::StoreU(t.c0, f, y + c * rows + r);
      hn::StoreU(t.c1, f, y + (c + 1) * rows + r);
      hn::StoreU(t.c2, f, y + (c + 2) * rows + r);
      hn::StoreU(t.c3, f, y + (c + 3) * rows + r);
    }
    for (; c < end; ++c) hn::StoreU(load_column(from, c), f, y + c * rows + r);
  }
  for (; r < rows; ++r) {
    for (int64_t c = begin; c < end; ++c) y[c * rows + r] = x[r * d + c];
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {

HWY_EXPORT(add_range);
HWY_EXPORT(multiply_range);
HWY_EXPORT(scale_by_range);
HWY_EXPORT(add_scaled_range);
HWY_EXPORT(add_bias_rows);
HWY_EXPORT(column_sums_range);
HWY_EXPORT(transpose_range);

void add(int64_t n, const float* a, const float* b, float* y) {
  parallel_for(n, internal::kPieceValues, [&](int64_t i, int64_t e) {
    HWY_DYNAMIC_DISPATCH(add_range)(e - i, a + i, b + i, y + i);
  });
}

void multiply(int64_t n, const float* a, const float* b, float* y) {
  parallel_for(n, internal::kPieceValues, [&](int64_t i, int64_t e) {
    HWY_DYNAMIC_DISPATCH(multiply_range)(e - i, a + i, b + i, y + i);
  });
}

void scale_by(int64_t n, float factor, const float* x, float* y) {
  parallel_for(n, internal::kPieceValues, [&](int64_t i, int64_t e) {
    HWY_DYNAMIC_DISPATCH(scale_by_range)(e - i, factor, x + i, y + i);
  });
}

void add_scaled(int64_t n, float factor, const float* x, float* y) {
  parallel_for(n, internal::kPieceValues, [&](int64_t i, int64_t e) {
    HWY_DYNAMIC_DISPATCH(add_scaled_range)(e - i, factor, x + i, y + i);
  });
}

void add_bias(int64_t rows, int64_t d, const float* x, const float* bias, float* y) {
  parallel_for(rows, internal::piece_rows(d), [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(add_bias_rows)(d, x, bias, y, b, e);
  });
}

void column_sums(int64_t rows, int64_t d, const float* x, float* sums) {
  parallel_for(d, internal::kPieceColumns, [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(column_sums_range)(rows, d, x, sums, b, e);
  });
}

void transpose(int64_t rows, int64_t d, const float* x, float* y) {
  parallel_for(d, 64, [&](int64_t b, int64_t e) { HWY_DYNAMIC_DISPATCH(transpose_range)(rows, d, x, y, b, e); });
}

}  // namespace microtome
#endif
