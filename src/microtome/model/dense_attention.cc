#include "microtome/base/error.h"
#include "microtome/model/attention_policy.h"
#include "microtome/tape/attention.h"

namespace microtome {
namespace {

// Appends this pass's rows of one sequence to one layer's cache; the layout says where each lies and what it sees.
SequenceRows append_rows(const AttentionCall& c, size_t index, bool keep_alive) {
  const Sequence& q = c.batch.sequences[index];
  KvCache& cache = *c.caches[index];
  const int64_t kv_heads = c.config.n_kv_heads, d = c.k.data.size(2), dv = c.v.data.size(2);
  SequenceRows s;
  s.row_begin = q.row_begin;
  s.row_end = q.row_end;
  for (int64_t h = 0; h < kv_heads; ++h) {
    HeadCache& head = cache.head(c.layer, h);
    for (int64_t r = q.row_begin; r < q.row_end; ++r) {
      const int32_t slot = head.append(std::as_const(c.k.data).f32() + (r * kv_heads + h) * d,
                                       std::as_const(c.v.data).f32() + (r * kv_heads + h) * dv, c.batch.positions[r]);
      if (h == 0) s.own_slot.push_back(slot);
    }
    s.n_slots = head.length();
    s.heads.push_back(
        {head.key_blocks(), head.value_blocks(), keep_alive ? head.owners() : std::vector<std::shared_ptr<void>>()});
  }
  for (int64_t r = q.row_begin; r < q.row_end; ++r) {
    const bool listed = !c.batch.visible.empty() && !c.batch.visible[r].empty();
    s.begin.push_back(0);
    if (!c.batch.visible.empty()) s.slots.push_back(c.batch.visible[r]);
    s.end.push_back(listed ? static_cast<int32_t>(c.batch.visible[r].size()) : s.own_slot[r - q.row_begin] + 1);
  }
  return s;
}

class DenseAttention : public AttentionPolicy {
 public:
  const char* name() const override { return "dense"; }

  bool visible(int, int64_t, int64_t i, int64_t j) const override { return j <= i; }

  Value forward(const AttentionCall& call) const override {
    AttentionCall c = call;
    if (c.rope.table) {
      c.q = c.site(SiteKind::kRotQ, microtome::call<Rope>(c.tape, c.ctx, c.rope, c.q));
      c.k = c.site(SiteKind::kRotK, microtome::call<Rope>(c.tape, c.ctx, c.rope, c.k));
    }
    auto layout = std::make_shared<AttentionLayout>();
    layout->n_heads = c.config.n_heads;
    layout->n_kv_heads = c.config.n_kv_heads;
    layout->shape = {c.q.data.size(2), c.v.data.size(2), c.config.attention_scale, 0};
    for (size_t i = 0; i < c.batch.sequences.size(); ++i) layout->sequences.push_back(append_rows(c, i, c.tape != nullptr));
    if (!c.plan.any_of({SiteKind::kAttnScores, SiteKind::kPattern}, c.layer))
      return fused_attention(c.tape, c.ctx, layout, c.q, c.k, c.v);

    std::vector<Value> patterns;
    for (size_t i = 0; i < layout->sequences.size(); ++i) {
      const int sequence = static_cast<int>(i);
      const Value scores = c.site(SiteKind::kAttnScores, attention_scores(c.tape, c.ctx, layout, sequence, c.q, c.k), sequence);
      patterns.push_back(c.site(SiteKind::kPattern, attention_pattern(c.tape, c.ctx, layout, sequence, scores), sequence));
    }
    return attention_apply(c.tape, c.ctx, layout, patterns, c.v);
  }

  AttentionCost cost(const Config& c, int64_t queries, int64_t cached) const override {
    const double seen = static_cast<double>(queries) * static_cast<double>(cached) +
                        0.5 * static_cast<double>(queries) * static_cast<double>(queries + 1);
    return {4.0 * static_cast<double>(c.n_heads * c.d_head) * seen,
            8.0 * static_cast<double>(c.n_kv_heads * c.d_head) * static_cast<double>(cached + queries)};
  }
};

}  // namespace

std::shared_ptr<const AttentionPolicy> dense_attention() {
  static const auto policy = std::make_shared<const DenseAttention>();
  return policy;
}

}  // namespace microtome
