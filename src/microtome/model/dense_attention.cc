#include "microtome/base/threads.h"
#include "microtome/model/attention_policy.h"
#include "microtome/tape/attention.h"

namespace microtome {
namespace {

// Puts this pass's rows of one sequence into one layer's cache.
void append_rows(const AttentionCall& c, size_t index) {
  const Sequence& q = c.batch.sequences[index];
  const int64_t kv_heads = c.config.n_kv_heads, d = c.k.data.size(2), dv = c.v.data.size(2);
  for (int64_t h = 0; h < kv_heads; ++h) {
    HeadCache& head = c.caches[index]->head(c.layer, h);
    for (int64_t r = q.row_begin; r < q.row_end; ++r) {
      const float* k = std::as_const(c.k.data).f32() + (r * kv_heads + h) * d;
      const float* v = std::as_const(c.v.data).f32() + (r * kv_heads + h) * dv;
      if (q.replace) head.replace(c.batch.positions[r], k, v);
      else head.append(k, v, c.batch.positions[r]);
    }
  }
}

// Where the rows of one sequence lie in one layer's cache, and what each sees.
SequenceRows rows_of(const AttentionCall& c, size_t index, bool keep_alive) {
  const Sequence& q = c.batch.sequences[index];
  KvCache& cache = *c.caches[index];
  SequenceRows s;
  s.row_begin = q.row_begin;
  s.row_end = q.row_end;
  s.n_slots = cache.head(c.layer, 0).length();
  for (int64_t h = 0; h < c.config.n_kv_heads; ++h) {
    HeadCache& head = cache.head(c.layer, h);
    s.heads.push_back(
        {head.key_blocks(), head.value_blocks(), keep_alive ? head.owners() : std::vector<std::shared_ptr<void>>()});
  }
  const int64_t first_slot = s.n_slots - (q.row_end - q.row_begin);
  for (int64_t r = q.row_begin; r < q.row_end; ++r) {
    const auto slot = static_cast<int32_t>(q.replace ? c.batch.positions[r] : first_slot + r - q.row_begin);
    const bool listed = !c.batch.visible.empty() && !c.batch.visible[r].empty();
    s.own_slot.push_back(slot);
    s.begin.push_back(0);
    if (!c.batch.visible.empty()) s.slots.push_back(c.batch.visible[r]);
    s.end.push_back(listed ? static_cast<int32_t>(c.batch.visible[r].size()) : slot + 1);
  }
  return s;
}

// Attention stage by stage, each a value that the plan may look at. Fills `mass` where there are lists.
Value staged(const AttentionCall& c, const AttentionLayoutPtr& layout, const KeyLists* lists, double* mass) {
  std::vector<Value> patterns;
  for (size_t i = 0; i < layout->sequences.size(); ++i) {
    const int sequence = static_cast<int>(i);
    const Value scores = c.site(SiteKind::kAttnScores, attention_scores(c.tape, c.ctx, layout, sequence, c.q, c.k), sequence);
    patterns.push_back(c.site(SiteKind::kPattern, attention_pattern(c.tape, c.ctx, layout, sequence, scores), sequence));
    if (lists) pattern_mass(*layout, sequence, patterns.back().data, *lists, mass);
  }
  return attention_apply(c.tape, c.ctx, layout, patterns, c.v);
}

class DenseAttention : public AttentionPolicy {
 public:
  const char* name() const override { return "dense"; }

  bool visible(int, int64_t, int64_t i, int64_t j) const override { return j <= i; }

  void append(AttentionCall& c) const override {
    if (c.rope.table) c.k = c.site(SiteKind::kRotK, microtome::call<Rope>(c.tape, c.ctx, c.rope, c.k));
    parallel_for(std::ssize(c.batch.sequences), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) append_rows(c, static_cast<size_t>(i));
    });
  }

  Value attend(const AttentionCall& call) const override {
    AttentionCall c = call;
    if (c.rope.table) c.q = c.site(SiteKind::kRotQ, microtome::call<Rope>(c.tape, c.ctx, c.rope, c.q));
    auto layout = std::make_shared<AttentionLayout>();
    layout->n_heads = c.config.n_heads;
    layout->n_kv_heads = c.config.n_kv_heads;
    layout->shape = {c.config.d_head, c.config.d_head, c.config.attention_scale, 0};
    for (size_t i = 0; i < c.batch.sequences.size(); ++i) layout->sequences.push_back(rows_of(c, i, c.tape != nullptr));
    const KeyLists* lists = c.plan.plan().mass_lists();
    std::vector<double> mass;
    if (lists) {
      MT_CHECK_EQ(lists->rows(), c.batch.rows());
      mass.resize(static_cast<size_t>(c.batch.rows() * c.config.n_heads * lists->width()));
    }
    const Value z = c.plan.any_of({SiteKind::kAttnScores, SiteKind::kPattern}, c.layer)
                        ? staged(c, layout, lists, mass.data())
                        : fused_attention(c.tape, c.ctx, layout, c.q, c.k, c.v, lists, mass.data());
    if (lists) c.plan.plan().mass_sink()(c.layer, mass);
    return z;
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
