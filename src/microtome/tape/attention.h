// Attention over ragged rows and blocks of keys: the tensor-level callers of kernels/attention.h.
//
//   q [rows, H, d], k [rows, H_kv, d] and v [rows, H_kv, dv] are the rows of this pass; keys and values themselves are read
//   from blocks (a cache that already holds this pass's rows). Query head h reads key/value head h / (H / H_kv).
//
// Fused (fused_attention) keeps no pattern; staged (attention_scores, attention_pattern, attention_apply) gives every stage
// as a value, with the same bits. Gradients reach the keys and values of this pass's rows; older ones are constants.
#pragma once

#include <memory>
#include <vector>

#include "microtome/tape/tape.h"

namespace microtome {

// Keys and values of one sequence in one layer, as one key/value head sees them.
struct HeadKeys {
  std::vector<const float*> k, v;             // per block of 64 slots
  std::vector<std::shared_ptr<void>> owners;  // keeps the blocks alive while a tape may need them
  KeyBlocks blocks() const { return {k.data(), v.data()}; }
};

// The rows of one sequence: [row_begin, row_end) of the pass.
struct SequenceRows {
  int64_t row_begin = 0, row_end = 0;
  std::vector<int32_t> own_slot;            // where row i's own key lies
  std::vector<int32_t> begin, end;          // visible logical keys of row i: [begin, end)
  std::vector<std::vector<int32_t>> slots;  // per row: logical key -> slot; empty: the same
  std::vector<HeadKeys> heads;              // per key/value head
  int64_t n_slots = 0;                      // keys held, this pass's included

  int64_t rows() const { return row_end - row_begin; }
};

struct AttentionLayout {
  int64_t n_heads = 0, n_kv_heads = 0;
  AttentionShape shape;
  std::vector<SequenceRows> sequences;

  int64_t group() const { return n_heads / n_kv_heads; }
};

using AttentionLayoutPtr = std::shared_ptr<const AttentionLayout>;

// -> z [rows, H, dv]. With `lists` (one row for each row of the pass) also mass [rows, H, lists->width()].
Value fused_attention(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, const Value& q, const Value& k, const Value& v,
                      const KeyLists* lists = nullptr, double* mass = nullptr);

// The same mass of one sequence from its stored pattern [H, rows of it, n_slots].
void pattern_mass(const AttentionLayout& layout, int sequence, const Tensor& pattern, const KeyLists& lists, double* mass);

// One sequence's scores [H, rows, n_slots], -inf where not visible. Sequences with slot lists are refused (Unsupported).
Value attention_scores(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, int sequence, const Value& q, const Value& k);

// Softmax over all keys held: 0 where the score is -inf.
Value attention_pattern(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, int sequence, const Value& scores);

// patterns[s] [H, rows of s, n_slots] -> z [rows, H, dv].
Value attention_apply(Tape* tape, const OpContext& ctx, AttentionLayoutPtr layout, const std::vector<Value>& patterns,
                      const Value& v);

}  // namespace microtome
