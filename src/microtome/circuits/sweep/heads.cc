#include "microtome/circuits/sweep/heads.h"

#include <algorithm>

#include "microtome/model/pass.h"

namespace microtome::sweep {
namespace {

bool is_key_side(SiteKind kind) { return kind == SiteKind::kK || kind == SiteKind::kV || kind == SiteKind::kRotK; }

std::vector<int32_t> range(int64_t begin, int64_t end) {
  std::vector<int32_t> out;
  for (int64_t p = begin; p < end; ++p) out.push_back(static_cast<int32_t>(p));
  return out;
}

// Positions that the edits write to.
std::vector<int32_t> written(const Item& item) {
  const int64_t length = item.host->length();
  std::vector<bool> hit(length, false);
  for (const Edit& e : item.intervention->edits) {
    const auto [begin, end] = positions_of(e.where, length);
    for (int64_t p = std::max<int64_t>(0, begin); p < std::min(end, length); ++p) hit[p] = true;
  }
  std::vector<int32_t> out;
  for (int64_t p = 0; p < length; ++p)
    if (hit[p]) out.push_back(static_cast<int32_t>(p));
  return out;
}

// Rows of the host's values for each item's positions, together.
Tensor gather(SiteKind kind, int l, std::span<const Item* const> items, const std::vector<std::vector<int32_t>>& positions) {
  int64_t rows = 0;
  for (const auto& p : positions) rows += std::ssize(p);
  const Tensor& first = items[0]->host->at(kind, l);
  Tensor out = Tensor::empty({rows, first.size(1), first.size(2)});
  const int64_t width = first.row_size();
  float* to = out.f32();
  for (size_t i = 0; i < items.size(); ++i)
    for (const int32_t p : positions[i]) {
      std::copy_n(std::as_const(items[i]->host->at(kind, l)).f32() + p * width, width, to);
      to += width;
    }
  return out;
}

// The items' edits, written into a value of all of them.
void write_edits(std::span<const Item* const> items, SiteValue& value) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (value.sequence >= 0 && value.sequence != static_cast<int>(i)) continue;
    for (const Edit& e : items[i]->intervention->edits) write_edit(e, value, static_cast<int>(i));
  }
}

Edit edit_of_all(Site site, std::span<const Item* const> items) {
  return {.site = site, .op = EditOp::kCustom, .custom = [items](SiteValue& v) { write_edits(items, v); }};
}

std::vector<HeadChange> differences(int l, SiteKind kind, std::span<const Item* const> items,
                                    const std::vector<std::vector<int32_t>>& positions, const Tensor& after) {
  std::vector<HeadChange> out;
  const Tensor before = gather(kind, l, items, positions);
  int64_t row = 0;
  const int64_t width = before.row_size();
  for (size_t i = 0; i < items.size(); ++i) {
    const int64_t n = std::ssize(positions[i]);
    HeadChange change{positions[i], Tensor::empty({n, before.size(1), before.size(2)})};
    const float *a = before.f32() + row * width, *b = after.f32() + row * width;
    for (int64_t j = 0; j < n * width; ++j) change.delta.f32()[j] = b[j] - a[j];
    out.push_back(std::move(change));
    row += n;
  }
  return out;
}

}  // namespace

std::vector<HeadChange> head_changes(const Model& model, int l, std::span<const Item* const> items) {
  const SiteKind kind = items[0]->intervention->edits[0].site.kind;
  std::vector<std::vector<int32_t>> keys, queries;
  for (const Item* item : items) {
    keys.push_back(written(*item));
    queries.push_back(is_key_side(kind) ? range(item->route.position, item->host->length()) : keys.back());
  }
  std::vector<KvCache> caches;
  for (const Item* item : items) caches.push_back(block_cache(*item->host, model.config(), l));
  const auto batch_of = [&](const std::vector<std::vector<int32_t>>& positions) {
    std::vector<StepRows> rows;
    for (size_t i = 0; i < items.size(); ++i) rows.push_back({items[i]->host, &caches[i], positions[i]});
    return step_batch(rows);
  };
  const Batch query_batch = batch_of(queries);
  if (query_batch.rows() == 0) return std::vector<HeadChange>(items.size());
  if (kind == SiteKind::kZ || kind == SiteKind::kResult) {
    SiteValue value{{kind, l}, &query_batch, -1, gather(kind, l, items, queries)};
    write_edits(items, value);
    return differences(l, kind, items, queries, value.data);
  }
  Plan plan;
  if (kind == SiteKind::kRotQ || kind == SiteKind::kRotK || kind == SiteKind::kAttnScores || kind == SiteKind::kPattern)
    plan.edit(edit_of_all({kind, l}, items));
  if (is_key_side(kind)) {
    const Batch key_batch = batch_of(keys);
    SiteValue k{{SiteKind::kK, l}, &key_batch, -1, gather(SiteKind::kK, l, items, keys)};
    SiteValue v{{SiteKind::kV, l}, &key_batch, -1, gather(SiteKind::kV, l, items, keys)};
    if (kind == SiteKind::kK) write_edits(items, k);
    if (kind == SiteKind::kV) write_edits(items, v);
    Pass(model, {.batch = key_batch, .plan = &plan}).remember(l, k.data, v.data);
  }
  SiteValue q{{SiteKind::kQ, l}, &query_batch, -1, gather(SiteKind::kQ, l, items, queries)};
  if (kind == SiteKind::kQ) write_edits(items, q);
  Plan none;
  const ForwardInput input{.batch = query_batch, .plan = is_key_side(kind) ? &none : &plan};
  const Value z = Pass(model, input).attend(l, q.data);
  return differences(l, SiteKind::kZ, items, queries, z.data);
}

}  // namespace microtome::sweep
