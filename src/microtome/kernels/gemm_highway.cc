// Products by our own kernels: every format, every number of rows, every instruction set.
//
// A tile is up to 8 rows by V vectors of columns. Its sums stay in registers over one chunk of k while the packed values
// stream by, widened on the way; C gathers the chunks. From kWidenRows rows on, stored formats are widened once per chunk
// into a scratch that stays in the second-level cache, and the tiles read that.
#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/gemm_highway.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "hwy/highway.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/packed_layout.h"
#include "microtome/kernels/scratch.h"
#include "microtome/kernels/stored_formats-inl.h"

#ifndef MICROTOME_GEMM_HIGHWAY_ONCE_
#define MICROTOME_GEMM_HIGHWAY_ONCE_
namespace microtome::internal {

struct TileArgs {
  const float* a;         // first row
  int64_t lda;            // floats from row to row
  const std::byte* unit;  // packed values
  int64_t offset;         // first column within the unit
  int64_t begin, end;     // k
  float* c;
  int64_t ldc;
  bool add;  // C += the sum, instead of C = the sum
};
using TileFn = void (*)(const TileArgs&);

inline constexpr int64_t kSlabRows = 240;  // rows that share one pass over a chunk of B

}  // namespace microtome::internal
#endif

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

using internal::TileArgs;
using internal::TileFn;

// Rows per tile and vectors per row: as many sums as the registers hold.
constexpr bool kWide = HWY_TARGET == HWY_AVX3;
constexpr int kPlainVectors = kWide ? 4 : 2, kPlainRows = 6;
constexpr int kStoredVectors = 2, kStoredRows = kWide ? 8 : 4;
constexpr int64_t kWidenRows = 2 * kStoredRows + 1;

template <class Format, int R, int V>
HWY_NOINLINE void run_tile(const TileArgs& t) {
  const F32 d;
  const float* const a = t.a;
  const int64_t lda = t.lda;
  VF sum[R][V];
  MT_UNROLL for (int r = 0; r < R; ++r) { MT_UNROLL for (int v = 0; v < V; ++v) sum[r][v] = hn::Zero(d); }
  const auto step = [&](int64_t k, const VF(&w)[V]) __attribute__((always_inline)) HWY_ATTR {
    MT_UNROLL for (int r = 0; r < R; ++r) {
      const VF x = hn::Set(d, a[r * lda + k]);
      MT_UNROLL for (int v = 0; v < V; ++v) sum[r][v] = hn::MulAdd(x, w[v], sum[r][v]);
    }
  };
  Format::template for_each<V>(t.unit, t.offset, t.begin, t.end, step);
  MT_UNROLL for (int r = 0; r < R; ++r) {
    MT_UNROLL for (int v = 0; v < V; ++v) {
      float* to = t.c + r * t.ldc + v * kLanes;
      hn::StoreU(t.add ? hn::Add(hn::LoadU(d, to), sum[r][v]) : sum[r][v], d, to);
    }
  }
}

template <class Format, int V>
TileFn tile_for(int64_t rows) {
  switch (rows) {
    case 1: return run_tile<Format, 1, V>;
    case 2: return run_tile<Format, 2, V>;
    case 3: return run_tile<Format, 3, V>;
    case 4: return run_tile<Format, 4, V>;
    case 5: return run_tile<Format, 5, V>;
    case 6: return run_tile<Format, 6, V>;
    case 7: return run_tile<Format, 7, V>;
    default: return run_tile<Format, 8, V>;
  }
}

// All rows of one chunk of one unit, in tiles of nearly equal heights.
template <class Format, int kRows, int V>
void run_chunk(TileArgs t, int64_t m, int64_t columns) {
  constexpr int64_t kStep = V * kLanes;
  const int64_t tiles = (m + kRows - 1) / kRows;
  const float* a = t.a;
  float* c = t.c;
  for (int64_t i = 0, row = 0; i < tiles; ++i) {
    const int64_t rows = (m - row) / (tiles - i);
    const TileFn tile = tile_for<Format, V>(rows);
    t.a = a + row * t.lda;
    for (t.offset = 0; t.offset < columns; t.offset += kStep) {
      t.c = c + row * t.ldc + t.offset;
      tile(t);
    }
    row += rows;
  }
}

template <class Format>
void widen_unit(const std::byte* unit, int64_t begin, int64_t end, float* out) {
  constexpr int V = kStoredVectors;
  for (int64_t offset = 0; offset < Format::kUnit; offset += V * kLanes) {
    const auto step = [&](int64_t k, const VF(&w)[V]) __attribute__((always_inline)) HWY_ATTR {
      MT_UNROLL for (int v = 0; v < V; ++v) hn::Store(w[v], F32(), out + (k - begin) * 64 + offset + v * kLanes);
    };
    Format::template for_each<V>(unit, offset, begin, end, step);
  }
}

void widen_whole_panel(PackedFormat format, const std::byte* panel, int64_t k_total, int64_t begin, int64_t end, float* out) {
  with_format(format, [&](auto f) HWY_ATTR {
    using Format = decltype(f);
    widen_unit<Format>(panel, begin, end, out);
    if constexpr (Format::kUnit == kHalf) {
      widen_unit<Format>(panel + packed_panel_bytes(format, k_total) / 2, begin, end, out + kHalf);
    }
  });
}

// Rows [0, m) of the columns of one unit. C has room for `columns` columns of the unit only.
template <class Format>
void run_unit(const float* a, int64_t m, const std::byte* unit, int64_t k, int64_t columns, float* c, int64_t ldc) {
  constexpr int64_t kUnit = Format::kUnit;
  constexpr bool kPlain = std::is_same_v<Format, F32Format>;
  alignas(64) float edge[8 * 64];
  const bool whole = columns == kUnit;
  const int64_t slab = whole ? m : std::min<int64_t>(m, 8);
  for (int64_t row = 0; row < m; row += slab) {
    const int64_t rows = std::min(slab, m - row);
    for (int64_t begin = 0; begin < k; begin += internal::sum_chunk(k)) {
      TileArgs t{a + row * k,
                 k,
                 unit,
                 0,
                 begin,
                 std::min(k, begin + internal::sum_chunk(k)),
                 whole ? c + row * ldc : edge,
                 whole ? ldc : kUnit,
                 begin > 0};
      run_chunk<Format, kPlain ? kPlainRows : kStoredRows, kPlain ? kPlainVectors : kStoredVectors>(t, rows, kUnit);
    }
    if (whole) continue;
    for (int64_t r = 0; r < rows; ++r) {
      std::memcpy(c + (row + r) * ldc, edge + r * kUnit, static_cast<size_t>(columns) * sizeof(float));
    }
  }
}

// A whole panel by way of a scratch: fill(begin, end, out) gives k in [begin, end) of it as [k][64] floats.
template <class Fill>
void filled_panel(const float* a, int64_t m, int64_t k, int64_t columns, float* c, int64_t ldc, Fill&& fill) {
  float* const scratch = internal::scratch<float>(internal::ScratchUse::kWidenedPanel, internal::kMaxChunk * 64);
  alignas(64) float edge[8 * 64];
  for (int64_t begin = 0; begin < k; begin += internal::sum_chunk(k)) {
    const int64_t end = std::min(k, begin + internal::sum_chunk(k));
    fill(begin, end, scratch);
    TileArgs t{a + begin, k, reinterpret_cast<const std::byte*>(scratch), 0, 0, end - begin, c, ldc, begin > 0};
    if (columns == 64) {
      run_chunk<F32Format, kPlainRows, kPlainVectors>(t, m, 64);
      continue;
    }
    const size_t row_bytes = static_cast<size_t>(columns) * sizeof(float);
    for (int64_t row = 0; row < m; row += 8) {
      const int64_t rows = std::min<int64_t>(8, m - row);
      float* const to = c + row * ldc;
      for (int64_t r = 0; r < rows && t.add; ++r) std::memcpy(edge + r * 64, to + r * ldc, row_bytes);
      TileArgs e = t;
      e.a += row * k;
      e.c = edge;
      e.ldc = 64;
      run_chunk<F32Format, kPlainRows, kPlainVectors>(e, rows, 64);
      for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * ldc, edge + r * 64, row_bytes);
    }
  }
}

// Multiply-adds below which waking another thread costs more than it saves: some 10 microseconds of work.
constexpr int64_t kWorthAThread = 1 << 18;

// Calls fn(unit, row, rows) for slabs of rows of units of columns, in parallel where they are worth it.
template <class Fn>
void for_pieces(int64_t m, int64_t units, int64_t work, Fn&& fn) {
  const int64_t slabs = (m + internal::kSlabRows - 1) / internal::kSlabRows, n = units * slabs;
  const int64_t groups = std::clamp<int64_t>(work / kWorthAThread, 1, n);
  parallel_for(n, (n + groups - 1) / groups, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t row = piece % slabs * internal::kSlabRows;
      fn(piece / slabs, row, std::min(internal::kSlabRows, m - row));
    }
  });
}

void gemm_rows(const float* a, int64_t m, const PackedView& b, float* c) {
  const int64_t panel_bytes = packed_panel_bytes(b.format, b.k);
  const bool fill_first = b.format != PackedFormat::kF32 && m >= kWidenRows;
  const int64_t width = fill_first || b.format == PackedFormat::kF32 || b.format == PackedFormat::kBF16 ? 64 : kHalf;
  for_pieces(m, (b.n + width - 1) / width, m * b.k * b.n, [&](int64_t unit, int64_t row, int64_t rows) {
    const std::byte* at = b.data + unit * panel_bytes * width / 64;
    const int64_t columns = std::min(width, b.n - unit * width);
    const float* from = a + row * b.k;
    float* to = c + row * b.n + unit * width;
    if (fill_first) {
      filled_panel(from, rows, b.k, columns, to, b.n,
                   [&](int64_t begin, int64_t end, float* out) { widen_whole_panel(b.format, at, b.k, begin, end, out); });
    } else {
      with_format(b.format, [&](auto f) HWY_ATTR { run_unit<decltype(f)>(from, rows, at, b.k, columns, to, b.n); });
    }
  });
}

void gemm_plain_rows(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n) {
  for_pieces(m, internal::panel_count(n), m * k * n, [&](int64_t panel, int64_t row, int64_t rows) {
    const int64_t columns = std::min<int64_t>(64, n - panel * 64);
    filled_panel(a + row * k, rows, k, columns, c + row * n + panel * 64, n, [&](int64_t begin, int64_t end, float* out) {
      for (int64_t i = begin; i < end; ++i, out += 64) {
        std::memcpy(out, b + i * n + panel * 64, static_cast<size_t>(columns) * sizeof(float));
        std::memset(out + columns, 0, static_cast<size_t>(64 - columns) * sizeof(float));
      }
    });
  });
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome::internal {

HWY_EXPORT(gemm_rows);
HWY_EXPORT(gemm_plain_rows);
HWY_EXPORT(widen_whole_panel);

void gemm_highway(const float* a, int64_t m, const PackedView& b, float* c) { HWY_DYNAMIC_DISPATCH(gemm_rows)(a, m, b, c); }

void gemm_plain_highway(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n) {
  HWY_DYNAMIC_DISPATCH(gemm_plain_rows)(a, b, c, m, k, n);
}

void widen_panel(PackedFormat format, const std::byte* panel, int64_t k_total, int64_t begin, int64_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(widen_whole_panel)(format, panel, k_total, begin, end, out);
}

}  // namespace microtome::internal
#endif
