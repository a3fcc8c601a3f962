// Vectors hold dimensions: sums stay in registers over a block of 64 keys. Keys that only some rows of a group see are added
// row by row, before or after the keys that all see, so that a row's chain holds its own keys and nothing else.
#include "microtome/kernels/attention_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/attention_sums.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

using internal::AttentionTile;
using internal::kTileStep;

constexpr int kSumVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;

// V vectors at a column, the last of them cut after `n` lanes if Cut.
template <bool Cut>
HWY_INLINE VF load_lanes(const float* p, int64_t n) {
  if constexpr (Cut) return load_first(p, n, 0.0f);
  return hn::LoadU(F32(), p);
}

template <bool Cut>
HWY_INLINE void store_lanes(VF v, float* p, int64_t n) {
  if constexpr (Cut) return store_first(v, p, n);
  return hn::StoreU(v, F32(), p);
}

// sums[r][c ..] += Σ_k weight(r, k) * from[k][c ..], k < n: weight(r, k) = weights[r * row_stride + k * step].
template <int R, int V, bool Cut>
HWY_NOINLINE void add_products(int64_t n, const float* weights, int64_t row_stride, int64_t step, const float* const* from,
                               float* const* sums, int64_t c, int64_t lanes) {
  const F32 d;
  VF sum[R][V];
  MT_UNROLL for (int r = 0; r < R; ++r) {
    MT_UNROLL for (int v = 0; v < V; ++v) sum[r][v] = load_lanes<Cut>(sums[r] + c + v * kLanes, lanes);
  }
  for (int64_t k = 0; k < n; ++k, weights += step) {
    VF x[V];
    MT_UNROLL for (int v = 0; v < V; ++v) x[v] = load_lanes<Cut>(from[k] + c + v * kLanes, lanes);
    MT_UNROLL for (int r = 0; r < R; ++r) {
      const VF w = hn::Set(d, weights[r * row_stride]);
      MT_UNROLL for (int v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(w, x[v], sum[r][v]);
    }
  }
  MT_UNROLL for (int r = 0; r < R; ++r) {
    MT_UNROLL for (int v = 0; v < V; ++v) store_lanes<Cut>(sum[r][v], sums[r] + c + v * kLanes, lanes);
  }
}

template <int R>
HWY_INLINE void add_all_columns(int64_t width, int64_t n, const float* weights, int64_t row_stride, int64_t step,
                                const float* const* from, float* const* sums) {
  int64_t c = 0;
  for (; c + kSumVectors * kLanes <= width; c += kSumVectors * kLanes) {
    add_products<R, kSumVectors, false>(n, weights, row_stride, step, from, sums, c, kLanes);
  }
  for (; c + kLanes <= width; c += kLanes) add_products<R, 1, false>(n, weights, row_stride, step, from, sums, c, kLanes);
  if (c < width) add_products<R, 1, true>(n, weights, row_stride, step, from, sums, c, width - c);
}

HWY_INLINE void add_columns(int64_t rows, int64_t width, int64_t n, const float* weights, int64_t row_stride, int64_t step,
                            const float* const* from, float* const* sums) {
  if (n <= 0) return;
  switch (rows) {
    case 1: return add_all_columns<1>(width, n, weights, row_stride, step, from, sums);
    case 2: return add_all_columns<2>(width, n, weights, row_stride, step, from, sums);
    case 3: return add_all_columns<3>(width, n, weights, row_stride, step, from, sums);
    case 4: return add_all_columns<4>(width, n, weights, row_stride, step, from, sums);
    case 5: return add_all_columns<5>(width, n, weights, row_stride, step, from, sums);
    default: return add_all_columns<kTileStep>(width, n, weights, row_stride, step, from, sums);
  }
}

void sums(const AttentionTile& tile, int64_t width, const float* const* blocks, const float* weights, int64_t ld,
          float* const* out) {
  const float* keys[kKeyBlock];
  for (int64_t block = tile.begin / kKeyBlock * kKeyBlock; block < tile.end; block += kKeyBlock) {
    if (!internal::any_sees(tile, 0, tile.n_rows, block, block + kKeyBlock)) continue;
    const int64_t first = std::max(block, tile.begin), stop = std::min(tile.end, block + kKeyBlock);
    for (int64_t j = first; j < stop; ++j) keys[j - block] = internal::key_row(blocks, tile.rows[0].slots, j, width);
    for (int64_t i = 0; i < tile.n_rows; i += kTileStep) {
      const int64_t n = std::min(kTileStep, tile.n_rows - i);
      int64_t begin = first, end = stop;  // what all rows of the group see
      for (int64_t r = i; r < i + n; ++r) {
        begin = std::max<int64_t>(begin, tile.rows[r].begin);
        end = std::min<int64_t>(end, tile.rows[r].end);
      }
      end = std::max(begin, end);
      const auto alone = [&](int64_t from, int64_t to) HWY_ATTR {
        for (int64_t r = i; r < i + n; ++r) {
          const int64_t a = std::max<int64_t>(from, tile.rows[r].begin), b = std::min<int64_t>(to, tile.rows[r].end);
          if (a < b) add_columns(1, width, b - a, weights + r * ld + a, ld, 1, keys + (a - block), out + r);
        }
      };
      alone(first, std::min(begin, stop));
      if (begin < end) add_columns(n, width, end - begin, weights + i * ld + begin, ld, 1, keys + (begin - block), out + i);
      alone(end, stop);
    }
  }
}

void scatter(const AttentionTile& tile, int64_t width, const float* weights, int64_t ld, const float* const* x,
             float* const* blocks) {
  float* keys[kTileStep];
  for (int64_t j = tile.begin; j < tile.end; j += kTileStep) {
    const int64_t n = std::min(kTileStep, tile.end - j);
    int64_t begin = 0, end = tile.n_rows;  // rows between the first and the last that see one of these keys
    while (begin < end && !internal::any_sees(tile, begin, 1, j, j + n)) ++begin;
    while (begin < end && !internal::any_sees(tile, end - 1, 1, j, j + n)) --end;
    if (begin == end) continue;
    for (int64_t k = 0; k < n; ++k) keys[k] = internal::key_row(blocks, tile.rows[0].slots, j + k, width);
    add_columns(n, width, end - begin, weights + begin * ld + j, 1, ld, x + begin, keys);
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {
HWY_EXPORT(sums);
HWY_EXPORT(scatter);

void internal::attention_sums(const AttentionTile& tile, int64_t width, const float* const* blocks, const float* weights,
                              int64_t ld, float* const* out) {
  HWY_DYNAMIC_DISPATCH(sums)(tile, width, blocks, weights, ld, out);
}

void internal::attention_scatter(const AttentionTile& tile, int64_t width, const float* weights, int64_t ld,
                                 const float* const* x, float* const* blocks) {
  HWY_DYNAMIC_DISPATCH(scatter)(tile, width, weights, ld, x, blocks);
}

}  // namespace microtome
#endif
