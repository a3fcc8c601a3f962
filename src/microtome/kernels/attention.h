// Attention's one primitive, for one head: query rows against keys in blocks (attention specification, section 2).
//
//   s_ij = cap(scale * q_i · k_j) + bias_ij;  p = softmax over the visible j;  z_i = Σ_j p_ij v_j;  lse_i = ln Σ_j e^{s_ij}
//
// A row with no visible key has z = 0, lse = -inf. Reductions run over logical keys j in rising order, in an order that
// depends on j alone: the same bits whatever rows are computed together, whichever slots the keys lie in, and whether the
// three stages are called one by one (the pattern read or edited) or fused. Fused keeps only a tile of scores.
// All functions run on the calling thread; callers spread (sequence, head, tile of rows) over threads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace microtome {

inline constexpr int64_t kKeyBlock = 64;  // slots per block of a KV cache

// Keys and values of one key/value head: slot s lies in block s / 64, row s % 64.
struct KeyBlocks {
  const float* const* k = nullptr;  // k[b]: [64][d]
  const float* const* v = nullptr;  // v[b]: [64][dv]
};

struct AttentionShape {
  int64_t d = 0, dv = 0;
  float scale = 1;
  float softcap = 0;  // c > 0: cap(x) = c tanh(x / c)
};

// One query row of one query head. Logical key j (begin <= j < end) sits in slot slots[j], or in slot j if slots is null.
struct QueryRow {
  const float* q = nullptr;        // [d]
  const int32_t* slots = nullptr;  // [end] or null
  int32_t begin = 0, end = 0;
  const float* bias = nullptr;  // [end] or null: added after the cap (ALiBi, masks of edits)
};

// Stage 1: scores[i * ld + j] for j < rows[i].end; -inf below rows[i].begin. ld >= max end.
void attention_scores(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows, float* scores,
                      int64_t ld, std::byte* scratch);

// Stage 2, in place: scores [.., ld] to the pattern; lse [n_rows] may be null.
void attention_softmax(const QueryRow* rows, int64_t n_rows, float* scores, int64_t ld, float* lse);

// Stage 3: z[i][dv] = Σ_j pattern_ij v_j.
void attention_apply(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                     const float* pattern, int64_t ld, float* const* z, std::byte* scratch);

// All three, tile by tile.
void attention_block(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows, float* const* z,
                     float* lse, std::byte* scratch);

// Bytes of scratch (64-byte aligned) that any of these needs for keys up to `max_end`.
int64_t attention_scratch_bytes(const AttentionShape& shape, int64_t max_end);

// Joins two partial results over disjoint keys into (z, lse); either may be empty (lse = -inf).
void attention_merge(int64_t dv, float* z, float* lse, const float* z_other, float lse_other);

// Gradients, from the same inputs plus dz and, where not null, dlse [n_rows]; probabilities are recomputed from the scores.
// dq[i][d] is written; dk[b] [64][d] and dv[b] [64][dv] (blocks as in keys) are added to, rows in rising order.
// Null dq or null dk/dv: not wanted.
void attention_block_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                              const float* const* dz, const float* dlse, float* const* dq, float* const* dk, float* const* dv,
                              std::byte* scratch);

// The stages' own gradients, for patterns that were read or edited. dscores may alias dpattern.
void attention_scores_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                               const float* scores, const float* dscores, int64_t ld, float* const* dq, float* const* dk,
                               std::byte* scratch);
void attention_softmax_backward(const QueryRow* rows, int64_t n_rows, const float* pattern, const float* dpattern, int64_t ld,
                                float* dscores);
void attention_apply_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                              const float* pattern, int64_t ld, const float* const* dz, float* dpattern, float* const* dv,
                              std::byte* scratch);

}  // namespace microtome
