// The three products that attention is made of, forward and backward, for a tile of query rows that share one slot map:
//
//   dots     out[i][j]  = x_i · key_j        scores = scale Q Kᵀ; gradient of the pattern = dZ Vᵀ
//   sums     out_i     += Σ_j w_ij key_j     Z = P V; dQ = dS K
//   scatter  key_j     += Σ_i w_ij x_i       dV = Pᵀ dZ; dK = dSᵀ Q
//
// Each number is one chain of multiply-adds over a rising index, cut nowhere, so its bits do not depend on the tile. Keys are
// rows of blocks [64][width], as in KeyBlocks. All functions run on the calling thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>

#include "microtome/kernels/attention.h"

namespace microtome::internal {

inline constexpr int64_t kTileStep = 6;      // rows that share registers
inline constexpr int64_t kMaxTileRows = 96;  // a multiple of kTileStep

struct AttentionTile {
  const QueryRow* rows = nullptr;  // all with the same slots
  int64_t n_rows = 0;
  int64_t begin = 0, end = 0;  // keys that any row sees
};

// How a dot product becomes a score. Rows' biases are added if `biased`.
struct DotShape {
  int64_t width = 0;
  float scale = 1, softcap = 0;
  bool biased = false;
};

// Row of logical key j.
template <class T>
T* key_row(T* const* blocks, const int32_t* slots, int64_t j, int64_t width) {
  const int64_t slot = slots ? slots[j] : j;
  return blocks[slot / kKeyBlock] + slot % kKeyBlock * width;
}

// True if one of rows [i, i + n) sees a key of [begin, end).
inline bool any_sees(const AttentionTile& tile, int64_t i, int64_t n, int64_t begin, int64_t end) {
  for (int64_t r = i; r < i + n; ++r) {
    if (std::max<int64_t>(tile.rows[r].begin, begin) < std::min<int64_t>(tile.rows[r].end, end)) return true;
  }
  return false;
}

// Writes out[i * ld + j] for the keys that row i sees, nothing else. columns: scratch [width][64], 64-byte aligned.
void attention_dots(const AttentionTile& tile, const DotShape& shape, const float* const* blocks, const float* const* x,
                    float* out, int64_t ld, float* columns);

// Adds to out[i][width], over the keys that row i sees.
void attention_sums(const AttentionTile& tile, int64_t width, const float* const* blocks, const float* weights, int64_t ld,
                    float* const* out);

// Adds to rows of blocks; weights must be 0 where a row does not see a key of [tile.begin, tile.end).
void attention_scatter(const AttentionTile& tile, int64_t width, const float* weights, int64_t ld, const float* const* x,
                       float* const* blocks);

// dscores = p (dp - Σ p dp + dlse) over what the row sees, 0 elsewhere in [0, end). dscores may be dpattern.
void attention_softmax_backward_row(const QueryRow& row, const float* pattern, const float* dpattern, float dlse, float* dscores);

// out[j] = scale * dscores[j] * (1 - (cap / c)^2), cap = scores[j] - bias: the gradient of q · k. scores: null without a cap.
void attention_cap_backward_row(const QueryRow& row, float scale, float softcap, const float* scores, const float* dscores,
                                float* out);

// attention_block that shows each tile's pattern [rows][ld] while it is there; `seen` may be empty.
using PatternSeen = std::function<void(const AttentionTile& tile, int64_t first, const float* pattern, int64_t ld)>;
void attention_block_tiles(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                           float* const* z, float* lse, std::byte* scratch, const PatternSeen& seen);

// Calls fn(tile, first row) for runs of at most max_rows rows that share a slot map.
template <class Fn>
void for_each_tile(const QueryRow* rows, int64_t n_rows, int64_t max_rows, const Fn& fn) {
  for (int64_t first = 0; first < n_rows;) {
    AttentionTile tile{rows + first, 0, std::numeric_limits<int64_t>::max(), 0};
    while (first + tile.n_rows < n_rows && tile.n_rows < max_rows && tile.rows[tile.n_rows].slots == tile.rows[0].slots) {
      const QueryRow& row = tile.rows[tile.n_rows++];
      if (row.begin >= row.end) continue;
      tile.begin = std::min<int64_t>(tile.begin, row.begin);
      tile.end = std::max<int64_t>(tile.end, row.end);
    }
    tile.begin = std::min(tile.begin, tile.end);
    fn(tile, first);
    first += tile.n_rows;
  }
}

}  // namespace microtome::internal
