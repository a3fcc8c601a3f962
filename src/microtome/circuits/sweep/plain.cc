#include "microtome/circuits/sweep/plain.h"

#include <algorithm>
#include <numeric>

#include "microtome/model/pass.h"
#include "microtome/ops/rows.h"

namespace microtome::sweep {
namespace {

// Index of a position in a rising list; -1: not there.
int64_t find(const std::vector<int32_t>& positions, int32_t p) {
  const auto at = std::lower_bound(positions.begin(), positions.end(), p);
  return at != positions.end() && *at == p ? at - positions.begin() : -1;
}

}  // namespace

// In the last block only rows whose logits are wanted matter.
std::vector<int32_t> PlainBlock::kept(const Item& item, const std::vector<int32_t>& positions) const {
  if (!last()) return positions;
  std::vector<int32_t> out;
  for (const int32_t p : Layers::wanted(item, positions[0]))
    if (find(positions, p) >= 0) out.push_back(p);
  return out;
}

std::vector<PlainBlock::Rows> PlainBlock::rows_of(const RowStore& in) const {
  std::vector<Rows> out;
  for (const RowStore::Part& part : in.parts()) {
    const Item& item = items_[part.item];
    Rows rows{&item, part.first, part.positions, kept(item, part.positions), {}, block_cache(*item.host, config_, l_)};
    if (last()) {
      rows.onward = Layers::wanted(item, part.positions[0]);
    } else {
      rows.onward.resize(item.host->length() - part.positions[0]);
      std::iota(rows.onward.begin(), rows.onward.end(), part.positions[0]);
    }
    out.push_back(std::move(rows));
  }
  return out;
}

Batch PlainBlock::batch_of(std::vector<Rows>& rows, std::vector<int32_t> Rows::*which) const {
  std::vector<StepRows> steps;
  for (Rows& r : rows) steps.push_back({r.item->host, &r.cache, r.*which});
  return step_batch(steps);
}

void PlainBlock::renew_keys(std::vector<Rows>& rows, const RowStore& in) {
  const Batch batch = batch_of(rows, &Rows::changed);
  Pass pass(model_, {.batch = batch, .macs = &macs_.executed});
  const QkvRows x = pass.project_keys(l_, in.tensor(model_.arena()));
  pass.remember(l_, x.k, x.v);
}

// [asking rows, H, K].
Tensor PlainBlock::new_queries(std::vector<Rows>& rows, const RowStore& in) {
  const Batch batch = batch_of(rows, &Rows::asking);
  if (batch.rows() == 0) return {};
  const int64_t d = config_.d_model;
  Tensor x = Tensor::empty({batch.rows(), d}, model_.arena());
  float* to = x.f32();
  for (const Rows& r : rows)
    for (const int32_t p : r.asking) {
      std::copy_n(in.row(r.first + find(r.changed, p)), d, to);
      to += d;
    }
  return Pass(model_, {.batch = batch, .macs = &macs_.executed}).project_queries(l_, x).data;
}

// The onward rows' input and queries: new where they changed, else the host's.
void PlainBlock::take(const std::vector<Rows>& rows, const RowStore& in, const Tensor& asked) {
  const int64_t d = config_.d_model, width = config_.n_heads * config_.d_head;
  int64_t row = 0, asked_before = 0;
  for (const Rows& r : rows) {
    const HostRun& host = *r.item->host;
    for (const int32_t p : r.onward) {
      const int64_t changed = find(r.changed, p), asks = find(r.asking, p);
      const float* from = changed >= 0 ? in.row(r.first + changed) : host.at(SiteKind::kResidPre, l_).f32() + p * d;
      const float* query = asks >= 0 ? asked.f32() + (asked_before + asks) * width : host.at(SiteKind::kQ, l_).f32() + p * width;
      std::copy_n(from, d, resid_.f32() + row * d);
      std::copy_n(query, width, q_.f32() + row * width);
      ++row;
    }
    asked_before += std::ssize(r.asking);
  }
}

// The stream after attention, [onward rows, D].
Tensor PlainBlock::after_attention(std::vector<Rows>& rows, const RowStore& in) {
  renew_keys(rows, in);
  const Tensor asked = new_queries(rows, in);
  const Batch batch = batch_of(rows, &Rows::onward);
  resid_ = Tensor::empty({batch.rows(), config_.d_model}, model_.arena());
  q_ = Tensor::empty({batch.rows(), config_.n_heads, config_.d_head}, model_.arena());
  if (batch.rows() == 0) return resid_;
  take(rows, in, asked);
  Pass pass(model_, {.batch = batch, .macs = &macs_.executed});
  return call<Add>(nullptr, model_.context(), {}, Value(resid_), pass.write_heads(l_, pass.attend(l_, q_))).data;
}

void PlainBlock::run(const RowStore& in, const RowStore& mid, RowStore& out) {
  const int64_t d = config_.d_model;
  std::vector<Rows> rows = rows_of(in);
  Tensor attended;
  if (!rows.empty()) attended = after_attention(rows, in);
  const int64_t n = attended.defined() ? attended.size(0) : 0;

  std::vector<StepRows> all;
  std::vector<int64_t> items;
  for (size_t i = 0; i < rows.size(); ++i) {
    all.push_back({rows[i].item->host, nullptr, rows[i].onward});
    items.push_back(in.parts()[i].item);
  }
  std::vector<std::vector<int32_t>> mid_positions;
  for (const RowStore::Part& part : mid.parts()) mid_positions.push_back(kept(items_[part.item], part.positions));
  for (size_t i = 0; i < mid.parts().size(); ++i) {
    all.push_back({items_[mid.parts()[i].item].host, nullptr, mid_positions[i]});
    items.push_back(mid.parts()[i].item);
  }
  const Batch batch = step_batch(all);
  if (batch.rows() == 0) return;

  Tensor stream = Tensor::empty({batch.rows(), d}, model_.arena());
  if (n > 0) std::copy_n(std::as_const(attended).f32(), n * d, stream.f32());
  float* to = stream.f32() + n * d;
  for (size_t i = 0; i < mid.parts().size(); ++i)
    for (const int32_t p : mid_positions[i]) {
      std::copy_n(mid.row(mid.parts()[i].first + find(mid.parts()[i].positions, p)), d, to);
      to += d;
    }
  Tensor result = stream;
  if (config_.has_mlp()) {
    // A parallel block's MLP reads the block's input; then nothing enters after its attention.
    const Value read = config_.parallel ? Value(resid_) : Value(stream);
    const Value mlp_out = Pass(model_, {.batch = batch, .macs = &macs_.executed}).mlp(l_, read);
    result = call<Add>(nullptr, model_.context(), {}, Value(stream), mlp_out).data;
  }
  const float* from = std::as_const(result).f32();
  for (size_t i = 0; i < all.size(); ++i) {
    out.begin(items[i]);
    for (const int32_t p : all[i].positions) {
      std::copy_n(from, d, out.add_row(p));
      from += d;
    }
    out.end();
  }
}

}  // namespace microtome::sweep
