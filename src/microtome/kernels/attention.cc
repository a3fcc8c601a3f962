#include "microtome/kernels/attention.h"

#include "microtome/kernels/reference.h"

namespace microtome {
namespace {

reference::KeyRows<float> key_rows(const AttentionShape& s, const KeyBlocks& keys) {
  return {s.d, s.dv, s.scale, s.softcap, keys.k, keys.v};
}
reference::Query<float> query(const QueryRow& row) { return {row.q, row.slots, row.begin, row.end, row.bias}; }

}  // namespace

void attention_scores(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows, float* scores,
                      int64_t ld, std::byte*) {
  for (int64_t i = 0; i < n_rows; ++i) reference::attention_scores<float>(key_rows(shape, keys), query(rows[i]), scores + i * ld);
}

void attention_softmax(const QueryRow* rows, int64_t n_rows, float* scores, int64_t ld, float* lse) {
  for (int64_t i = 0; i < n_rows; ++i) {
    const float row_lse = reference::attention_softmax<float>(query(rows[i]), scores + i * ld);
    if (lse) lse[i] = row_lse;
  }
}

void attention_apply(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                     const float* pattern, int64_t ld, float* const* z, std::byte*) {
  for (int64_t i = 0; i < n_rows; ++i) reference::attention_apply<float>(key_rows(shape, keys), query(rows[i]), pattern + i * ld, z[i]);
}

void attention_block(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows, float* const* z,
                     float* lse, std::byte* scratch) {
  float* scores = reinterpret_cast<float*>(scratch);
  for (int64_t i = 0; i < n_rows; ++i) {
    attention_scores(shape, keys, rows + i, 1, scores, rows[i].end, nullptr);
    attention_softmax(rows + i, 1, scores, rows[i].end, lse ? lse + i : nullptr);
    attention_apply(shape, keys, rows + i, 1, scores, rows[i].end, z + i, nullptr);
  }
}

int64_t attention_scratch_bytes(const AttentionShape&, int64_t max_end) { return 3 * max_end * 4 + 64; }

void attention_merge(int64_t dv, float* z, float* lse, const float* z_other, float lse_other) {
  reference::attention_merge<float>(dv, z, lse, z_other, lse_other);
}

void attention_block_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                              const float* const* dz, const float* dlse, float* const* dq, float* const* dk, float* const* dv,
                              std::byte* scratch) {
  const reference::KeyRows<float> k = key_rows(shape, keys);
  for (int64_t i = 0; i < n_rows; ++i) {
    const reference::Query<float> row = query(rows[i]);
    float* scores = reinterpret_cast<float*>(scratch);
    float* pattern = scores + row.end;
    float* grad = pattern + row.end;
    reference::attention_scores<float>(k, row, scores);
    std::copy(scores, scores + row.end, pattern);
    reference::attention_softmax<float>(row, pattern);
    reference::attention_apply_backward<float>(k, row, pattern, dz[i], grad, dv);
    reference::attention_softmax_backward<float>(row, pattern, grad, dlse ? dlse[i] : 0, grad);
    reference::attention_scores_backward<float>(k, row, scores, grad, dq ? dq[i] : nullptr, dk);
  }
}

void attention_scores_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                               const float* scores, const float* dscores, int64_t ld, float* const* dq, float* const* dk,
                               std::byte*) {
  for (int64_t i = 0; i < n_rows; ++i) {
    reference::attention_scores_backward<float>(key_rows(shape, keys), query(rows[i]), scores + i * ld, dscores + i * ld,
                                                dq ? dq[i] : nullptr, dk);
  }
}

void attention_softmax_backward(const QueryRow* rows, int64_t n_rows, const float* pattern, const float* dpattern, int64_t ld,
                                float* dscores) {
  for (int64_t i = 0; i < n_rows; ++i) {
    reference::attention_softmax_backward<float>(query(rows[i]), pattern + i * ld, dpattern + i * ld, 0.f, dscores + i * ld);
  }
}

void attention_apply_backward(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                              const float* pattern, int64_t ld, const float* const* dz, float* dpattern, float* const* dv,
                              std::byte*) {
  for (int64_t i = 0; i < n_rows; ++i) {
    reference::attention_apply_backward<float>(key_rows(shape, keys), query(rows[i]), pattern + i * ld, dz[i],
                                               dpattern ? dpattern + i * ld : nullptr, dv);
  }
}

}  // namespace microtome
