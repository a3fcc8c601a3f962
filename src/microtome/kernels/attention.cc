#include "microtome/kernels/attention.h"

#include <cmath>
#include <limits>

#include "microtome/kernels/attention_tile.h"

namespace microtome {
namespace {

using internal::AttentionTile;
using internal::for_each_tile;
using internal::kMaxTileRows;
using internal::kTileStep;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int64_t kTileFloats = int64_t{3} << 17;  // 1.5 MB: what scores of a tile take, unless kTileStep rows need more
constexpr int64_t kBackwardBuffers = 3;            // scores, pattern, gradient

int64_t padded(int64_t keys) { return (keys + kKeyBlock - 1) / kKeyBlock * kKeyBlock; }

// Rows of a tile with `buffers` arrays [rows][ld].
int64_t tile_rows(int64_t ld, int64_t buffers) {
  const int64_t rows = kTileFloats / std::max<int64_t>(1, ld * buffers) / kTileStep * kTileStep;
  return std::clamp(rows, kTileStep, kMaxTileRows);
}

struct Scratch {
  float* columns;  // [max(d, dv)][64]
  float* tile;
};

Scratch cut(const AttentionShape& shape, std::byte* scratch) {
  float* columns = reinterpret_cast<float*>(scratch);
  return {columns, columns + kKeyBlock * std::max(shape.d, shape.dv)};
}

int64_t longest(const QueryRow* rows, int64_t n_rows) {
  int64_t end = 0;
  for (int64_t i = 0; i < n_rows; ++i) end = std::max<int64_t>(end, rows[i].end);
  return end;
}

struct Queries {
  const float* row[kMaxTileRows];
  explicit Queries(const AttentionTile& tile) {
    for (int64_t i = 0; i < tile.n_rows; ++i) row[i] = tile.rows[i].q;
  }
};

void tile_scores(const AttentionShape& shape, const KeyBlocks& keys, const AttentionTile& tile, float* scores, int64_t ld,
                 float* columns) {
  for (int64_t i = 0; i < tile.n_rows; ++i) {
    std::fill(scores + i * ld, scores + i * ld + std::min(tile.rows[i].begin, tile.rows[i].end), -kInfinity);
  }
  internal::attention_dots(tile, {shape.d, shape.scale, shape.softcap, true}, keys.k, Queries(tile).row, scores, ld, columns);
}

void tile_apply(const AttentionShape& shape, const KeyBlocks& keys, const AttentionTile& tile, const float* pattern, int64_t ld,
                float* const* z) {
  for (int64_t i = 0; i < tile.n_rows; ++i) std::fill(z[i], z[i] + shape.dv, 0.0f);
  internal::attention_sums(tile, shape.dv, keys.v, pattern, ld, z);
}

// Copies what each row sees into a tile that is 0 elsewhere in [0, ld).
void fill_tile(const AttentionTile& tile, const float* from, int64_t from_ld, float* to, int64_t ld) {
  for (int64_t i = 0; i < tile.n_rows; ++i) {
    const QueryRow& row = tile.rows[i];
    std::fill(to + i * ld, to + (i + 1) * ld, 0.0f);
    if (row.begin < row.end) std::copy(from + i * from_ld + row.begin, from + i * from_ld + row.end, to + i * ld + row.begin);
  }
}

// dq = G K and dK += Gᵀ Q, with G the gradient of q · k, 0 where hidden.
void tile_query_key_backward(const AttentionShape& shape, const KeyBlocks& keys, const AttentionTile& tile, const float* g,
                             int64_t ld, float* const* dq, float* const* dk) {
  if (dq) {
    for (int64_t i = 0; i < tile.n_rows; ++i) std::fill(dq[i], dq[i] + shape.d, 0.0f);
    internal::attention_sums(tile, shape.d, keys.k, g, ld, dq);
  }
  if (dk) internal::attention_scatter(tile, shape.d, g, ld, Queries(tile).row, dk);
}

}  // namespace

int64_t attention_scratch_bytes(const AttentionShape& shape, int64_t max_end) {
  const int64_t ld = padded(max_end);
  const int64_t most = std::max(kTileFloats, kBackwardBuffers * kTileStep * ld);
  const int64_t tile = std::min(most, kBackwardBuffers * kMaxTileRows * ld);
  return static_cast<int64_t>(sizeof(float)) * (kKeyBlock * std::max(shape.d, shape.dv) + tile);
}

void attention_scores(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows, float* scores,
                      int64_t ld, std::byte* scratch) {
  for_each_tile(rows, n_rows, kMaxTileRows, [&](const AttentionTile& tile, int64_t first) {
    tile_scores(shape, keys, tile, scores + first * ld, ld, cut(shape, scratch).columns);
  });
}

void attention_apply(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                     const float* pattern, int64_t ld, float* const* z, std::byte*) {
  for_each_tile(rows, n_rows, kMaxTileRows, [&](const AttentionTile& tile, int64_t first) {
    tile_apply(shape, keys, tile, pattern + first * ld, ld, z + first);
  });
}

void internal::attention_block_tiles(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                                     float* const* z, float* lse, std::byte* scratch, const PatternSeen& seen) {
  const Scratch s = cut(shape, scratch);
  const int64_t ld = padded(longest(rows, n_rows));
  for_each_tile(rows, n_rows, tile_rows(ld, 1), [&](const AttentionTile& tile, int64_t first) {
    tile_scores(shape, keys, tile, s.tile, ld, s.columns);
    attention_softmax(tile.rows, tile.n_rows, s.tile, ld, lse ? lse + first : nullptr);
    if (seen) seen(tile, first, s.tile, ld);
    tile_apply(shape, keys, tile, s.tile, ld, z + first);
  });
}

void attention_block(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows, float* const* z,
                     float* lse, std::byte* scratch) {
  internal::attention_block_tiles(shape, keys, rows, n_rows, z, lse, scratch, {});
}

void attention_merge(int64_t dv, float* z, float* lse, const float* z_other, float lse_other) {
  if (lse_other == -kInfinity) return;
  if (*lse == -kInfinity) {
    std::copy(z_other, z_other + dv, z);
    *lse = lse_other;
    return;
  }
  const double total = std::max(*lse, lse_other) + std::log1p(std::exp(-std::abs(static_cast<double>(lse_other) - *lse)));
  const float share = static_cast<float>(std::exp(lse_other - total));
  for (int64_t c = 0; c < dv; ++c) z[c] += share * (z_other[c] - z[c]);
  *lse = static_cast<float>(total);
}

void attention_block_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                              const float* const* dz, const float* dlse, float* const* dq, float* const* dk, float* const* dv,
                              std::byte* scratch) {
  const Scratch s = cut(shape, scratch);
  const int64_t ld = padded(longest(rows, n_rows)), max_rows = tile_rows(ld, kBackwardBuffers);
  float* pattern = s.tile;
  float* gradient = pattern + max_rows * ld;
  float* scores = gradient + max_rows * ld;
  for_each_tile(rows, n_rows, max_rows, [&](const AttentionTile& tile, int64_t first) {
    std::fill(pattern, pattern + tile.n_rows * ld, 0.0f);
    std::fill(gradient, gradient + tile.n_rows * ld, 0.0f);
    tile_scores(shape, keys, tile, pattern, ld, s.columns);
    if (shape.softcap > 0) std::copy(pattern, pattern + tile.n_rows * ld, scores);
    attention_softmax(tile.rows, tile.n_rows, pattern, ld, nullptr);
    if (dv) internal::attention_scatter(tile, shape.dv, pattern, ld, dz + first, dv);
    internal::attention_dots(tile, {shape.dv, 1.0f, 0.0f, false}, keys.v, dz + first, gradient, ld, s.columns);
    for (int64_t i = 0; i < tile.n_rows; ++i) {
      float* g = gradient + i * ld;
      internal::attention_softmax_backward_row(tile.rows[i], pattern + i * ld, g, dlse ? dlse[first + i] : 0.0f, g);
      internal::attention_cap_backward_row(tile.rows[i], shape.scale, shape.softcap, scores + i * ld, g, g);
    }
    tile_query_key_backward(shape, keys, tile, gradient, ld, dq ? dq + first : nullptr, dk);
  });
}

void attention_scores_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                               const float* scores, const float* dscores, int64_t ld, float* const* dq, float* const* dk,
                               std::byte* scratch) {
  const Scratch s = cut(shape, scratch);
  const int64_t tile_ld = padded(longest(rows, n_rows));
  for_each_tile(rows, n_rows, tile_rows(tile_ld, 1), [&](const AttentionTile& tile, int64_t first) {
    std::fill(s.tile, s.tile + tile.n_rows * tile_ld, 0.0f);
    for (int64_t i = 0; i < tile.n_rows; ++i) {
      const int64_t at = (first + i) * ld;
      internal::attention_cap_backward_row(tile.rows[i], shape.scale, shape.softcap, scores + at, dscores + at,
                                           s.tile + i * tile_ld);
    }
    tile_query_key_backward(shape, keys, tile, s.tile, tile_ld, dq ? dq + first : nullptr, dk);
  });
}

void attention_apply_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                              const float* pattern, int64_t ld, const float* const* dz, float* dpattern, float* const* dv,
                              std::byte* scratch) {
  const Scratch s = cut(shape, scratch);
  const int64_t tile_ld = padded(longest(rows, n_rows));
  for_each_tile(rows, n_rows, tile_rows(tile_ld, 1), [&](const AttentionTile& tile, int64_t first) {
    if (dv) {
      fill_tile(tile, pattern + first * ld, ld, s.tile, tile_ld);
      internal::attention_scatter(tile, shape.dv, s.tile, tile_ld, dz + first, dv);
    }
    if (!dpattern) return;
    float* to = dpattern + first * ld;
    for (int64_t i = 0; i < tile.n_rows; ++i)
      std::fill(to + i * ld, to + i * ld + std::min(tile.rows[i].begin, tile.rows[i].end), 0.0f);
    internal::attention_dots(tile, {shape.dv, 1.0f, 0.0f, false}, keys.v, dz + first, to, ld, s.columns);
  });
}

}  // namespace microtome
