// Vectors hold keys. With few rows the keys are transposed in registers and used at once; with more, a block of 64 keys is
// transposed into scratch and every row of the tile reads that. Both form the same chains.
#include "microtome/kernels/attention_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/attention_dots.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

using internal::any_sees;
using internal::AttentionTile;
using internal::DotShape;
using internal::kTileStep;

constexpr int kKeyVectors = HWY_TARGET == HWY_AVX3 ? 4 : 2;
constexpr int64_t kKeysAtOnce = kKeyVectors * kLanes;

// Scales, caps, biases and stores the dot products of keys j .. j + kLanes that row i sees.
HWY_INLINE void finish(const AttentionTile& tile, const DotShape& shape, VF dots, int64_t i, int64_t j, float* out, int64_t ld) {
  const F32 d;
  const QueryRow& row = tile.rows[i];
  const int64_t begin = std::max<int64_t>(row.begin, j), end = std::min<int64_t>(row.end, j + kLanes);
  if (begin >= end) return;
  VF s = hn::Mul(dots, hn::Set(d, shape.scale));
  if (shape.softcap > 0) {
    const VF cap = hn::Set(d, shape.softcap);
    s = hn::Mul(cap, tanh_vector(hn::Div(s, cap)));
  }
  float* to = out + i * ld;
  const bool biased = shape.biased && row.bias;
  if (end - begin == kLanes) {
    hn::StoreU(biased ? hn::Add(s, hn::LoadU(d, row.bias + j)) : s, d, to + j);
    return;
  }
  HWY_ALIGN float lanes[kLanes];
  hn::Store(s, d, lanes);
  for (int64_t k = begin; k < end; ++k) to[k] = biased ? lanes[k - j] + row.bias[k] : lanes[k - j];
}

// Rows i .. i + R against kKeysAtOnce keys from logical key j on; columns [width][64].
template <int R>
HWY_NOINLINE void dots_from_columns(const AttentionTile& tile, const DotShape& shape, const float* columns, const float* const* x,
                                    int64_t i, int64_t j, float* out, int64_t ld) {
  const F32 d;
  const float* row[R];
  VF sum[R][kKeyVectors];
  MT_UNROLL for (int r = 0; r < R; ++r) {
    row[r] = x[i + r];
    MT_UNROLL for (int v = 0; v < kKeyVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  for (int64_t c = 0; c < shape.width; ++c, columns += kKeyBlock) {
    VF keys[kKeyVectors];
    MT_UNROLL for (int v = 0; v < kKeyVectors; ++v) keys[v] = hn::Load(d, columns + v * kLanes);
    MT_UNROLL for (int r = 0; r < R; ++r) {
      const VF q = hn::Set(d, row[r][c]);
      MT_UNROLL for (int v = 0; v < kKeyVectors; ++v) sum[r][v] = hn::MulAdd(q, keys[v], sum[r][v]);
    }
  }
  MT_UNROLL for (int r = 0; r < R; ++r) {
    MT_UNROLL for (int v = 0; v < kKeyVectors; ++v) finish(tile, shape, sum[r][v], i + r, j + v * kLanes, out, ld);
  }
}

// Rows i .. i + R against kLanes keys.
template <int R>
HWY_NOINLINE void dots_from_rows(const AttentionTile& tile, const DotShape& shape, const float* const* keys,
                                 const float* const* x, int64_t i, int64_t j, float* out, int64_t ld) {
  const F32 d;
  const float* row[R];
  VF sum[R];
  MT_UNROLL for (int r = 0; r < R; ++r) {
    row[r] = x[i + r];
    sum[r] = hn::Zero(d);
  }
  int64_t c = 0;
  for (; c + 4 <= shape.width; c += 4) {
    const Columns4 t = load_columns(keys, c);
    MT_UNROLL for (int r = 0; r < R; ++r) {
      sum[r] = hn::MulAdd(hn::Set(d, row[r][c]), t.c0, sum[r]);
      sum[r] = hn::MulAdd(hn::Set(d, row[r][c + 1]), t.c1, sum[r]);
      sum[r] = hn::MulAdd(hn::Set(d, row[r][c + 2]), t.c2, sum[r]);
      sum[r] = hn::MulAdd(hn::Set(d, row[r][c + 3]), t.c3, sum[r]);
    }
  }
  for (; c < shape.width; ++c) {
    const VF column = load_column(keys, c);
    MT_UNROLL for (int r = 0; r < R; ++r) sum[r] = hn::MulAdd(hn::Set(d, row[r][c]), column, sum[r]);
  }
  MT_UNROLL for (int r = 0; r < R; ++r) finish(tile, shape, sum[r], i + r, j, out, ld);
}

// columns[c][k] = keys[k][c] for 64 keys.
HWY_INLINE void gather_columns(int64_t width, const float* const* keys, float* columns) {
  const F32 d;
  for (int64_t k = 0; k < kKeyBlock; k += kLanes) {
    int64_t c = 0;
    for (; c + 4 <= width; c += 4) {
      const Columns4 t = load_columns(keys + k, c);
      float* to = columns + c * kKeyBlock + k;
      hn::Store(t.c0, d, to);
      hn::Store(t.c1, d, to + kKeyBlock);
      hn::Store(t.c2, d, to + 2 * kKeyBlock);
      hn::Store(t.c3, d, to + 3 * kKeyBlock);
    }
    for (; c < width; ++c) hn::Store(load_column(keys + k, c), d, columns + c * kKeyBlock + k);
  }
}

template <class Run>
HWY_INLINE void with_rows(int64_t rows, const Run& run) {
  switch (rows) {
    case 1: return run(std::integral_constant<int, 1>());
    case 2: return run(std::integral_constant<int, 2>());
    case 3: return run(std::integral_constant<int, 3>());
    case 4: return run(std::integral_constant<int, 4>());
    case 5: return run(std::integral_constant<int, 5>());
    default: return run(std::integral_constant<int, kTileStep>());
  }
}

void dots(const AttentionTile& tile, const DotShape& shape, const float* const* blocks, const float* const* x, float* out,
          int64_t ld, float* columns) {
  const float* keys[kKeyBlock];
  for (int64_t block = tile.begin / kKeyBlock * kKeyBlock; block < tile.end; block += kKeyBlock) {
    if (!any_sees(tile, 0, tile.n_rows, block, block + kKeyBlock)) continue;
    for (int64_t k = 0; k < kKeyBlock; ++k) {
      const int64_t j = std::clamp(block + k, tile.begin, tile.end - 1);  // keys outside stand in; their dots are not stored
      keys[k] = internal::key_row(blocks, tile.rows[0].slots, j, shape.width);
    }
    const int64_t stop = std::min(tile.end, block + kKeyBlock);
    if (tile.n_rows <= kTileStep) {
      for (int64_t j = block; j < stop; j += kLanes) {
        if (!any_sees(tile, 0, tile.n_rows, j, j + kLanes)) continue;
        with_rows(tile.n_rows, [&](auto rows) HWY_ATTR {
          dots_from_rows<decltype(rows)::value>(tile, shape, keys + (j - block), x, 0, j, out, ld);
        });
      }
      continue;
    }
    gather_columns(shape.width, keys, columns);
    for (int64_t i = 0; i < tile.n_rows; i += kTileStep) {
      const int64_t n = std::min(kTileStep, tile.n_rows - i);
      for (int64_t j = block; j < stop; j += kKeysAtOnce) {
        if (!any_sees(tile, i, n, j, j + kKeysAtOnce)) continue;
        with_rows(n, [&](auto rows) HWY_ATTR {
          dots_from_columns<decltype(rows)::value>(tile, shape, columns + (j - block), x, i, j, out, ld);
        });
      }
    }
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {
HWY_EXPORT(dots);

void internal::attention_dots(const AttentionTile& tile, const DotShape& shape, const float* const* blocks, const float* const* x,
                              float* out, int64_t ld, float* columns) {
  if (tile.end > tile.begin) HWY_DYNAMIC_DISPATCH(dots)(tile, shape, blocks, x, out, ld, columns);
}

}  // namespace microtome
#endif
