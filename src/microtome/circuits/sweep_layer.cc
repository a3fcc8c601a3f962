#include "microtome/circuits/sweep_layer.h"

#include <algorithm>
#include <numeric>

#include "microtome/circuits/sweep_cost.h"
#include "microtome/circuits/sweep_heads.h"
#include "microtome/model/pass.h"
#include "microtome/ops/rows.h"

namespace microtome::sweep {
namespace {

KvCache empty_cache(const Config& c) { return {c.n_layers, c.n_kv_heads, c.d_head, c.d_head}; }

// [K, N] as plain numbers.
Tensor plain(const Model& model, const Matrix& m) {
  Tensor w = Tensor::empty({m.view.k, m.view.n}, model.arena());
  model.context().kernels.unpack(m.view, 0, m.view.n, m.view.n, 1, w.f32());
  return w;
}

std::vector<int32_t> rows_from(int64_t begin, int64_t end) {
  std::vector<int32_t> out(std::max<int64_t>(0, end - begin));
  std::iota(out.begin(), out.end(), static_cast<int32_t>(begin));
  return out;
}

// Rows that changes at some positions of one host become: host stream + sum of changes, one change at a time.
class Changes {
 public:
  Changes(const Model& model, SweepMacs& macs) : model_(model), macs_(macs) {}

  // Adds change [n, k] · w [k, D] to the host's rows; returns where they are kept.
  void add(int64_t row, const float* change, int64_t k, const float* w) {
    inputs_.insert(inputs_.end(), change, change + k);
    targets_.push_back(row);
    k_ = k;
    w_ = w;
  }
  // Does the products collected since the last flush; all with the same w.
  void flush(RowStore& out) {
    const int64_t n = std::ssize(targets_), d = model_.config().d_model;
    if (n == 0) return;
    Tensor y = Tensor::empty({n, d}, model_.arena());
    model_.context().kernels.gemm_plain(inputs_.data(), w_, y.f32(), n, k_, d);
    macs_.executed += n * k_ * d;
    macs_.planned += n * k_ * d;
    for (int64_t i = 0; i < n; ++i) model_.context().kernels.add_scaled(d, 1.0f, y.f32() + i * d, out.row(targets_[i]));
    inputs_.clear();
    targets_.clear();
  }

 private:
  const Model& model_;
  SweepMacs& macs_;
  std::vector<float> inputs_;
  std::vector<int64_t> targets_;
  int64_t k_ = 0;
  const float* w_ = nullptr;
};

bool all_zero(const float* x, int64_t n) {
  return std::all_of(x, x + n, [](float v) { return v == 0; });
}

}  // namespace

Layers::Layers(const Model& model, std::span<const Item> items, SweepMacs& macs)
    : model_(model), config_(model.config()), items_(items), macs_(macs) {}

void Layers::plan(const RowStore& entered, size_t first_part) {
  for (size_t i = first_part; i < entered.parts().size(); ++i)
    macs_.planned += macs_onward(items_[entered.parts()[i].item], entered.parts()[i].positions, config_);
}

std::vector<int32_t> Layers::wanted(const Item& item, int64_t from) {
  std::vector<int32_t> out;
  for (const int32_t p : item.host->spec.positions)
    if (p >= from) out.push_back(p);
  return out;
}

bool Layers::edited_at(const Item& item, int l) const {
  return item.route.way == Way::kWhole && std::any_of(item.intervention->edits.begin(), item.intervention->edits.end(),
                                                      [&](const Edit& e) { return e.site.layer == l; });
}

RowStore Layers::run(const std::function<void(int)>& step) {
  RowStore stream(config_.d_model);
  for (int l = items_.empty() ? 0 : items_[0].route.layer; l < static_cast<int>(config_.n_layers); ++l) {
    stream = block(l, stream);
    step(l);
  }
  return stream;
}

RowStore Layers::block(int l, const RowStore& in) {
  RowStore plain(config_.d_model), whole(config_.d_model), mid(config_.d_model), out(config_.d_model);
  for (const RowStore::Part& part : in.parts()) {
    RowStore& to = edited_at(items_[part.item], l) ? whole : plain;
    to.begin(part.item);
    for (size_t i = 0; i < part.positions.size(); ++i)
      std::copy_n(in.row(part.first + static_cast<int64_t>(i)), config_.d_model, to.add_row(part.positions[i]));
  }
  const size_t whole_before = whole.parts().size();
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.route.layer != l || item.route.way != Way::kWhole || item.route.position >= item.host->length()) continue;
    const float* stream = item.host->at(SiteKind::kResidPre, l).f32();
    whole.begin(static_cast<int64_t>(i));
    for (int64_t p = item.route.position; p < item.host->length(); ++p)
      std::copy_n(stream + p * config_.d_model, config_.d_model, whole.add_row(static_cast<int32_t>(p)));
  }
  plan(whole, whole_before);
  enter(l, Point::kPre, plain);
  enter(l, Point::kMid, mid);
  enter(l, Point::kPost, out);
  run_whole(l, whole, out);
  run_plain(l, plain, mid, out);
  return out;
}

void Layers::enter(int l, Point point, RowStore& out) {
  const size_t first_part = out.parts().size();
  std::vector<int64_t> neurons;
  std::map<SiteKind, std::vector<int64_t>> heads;
  for (size_t i = 0; i < items_.size(); ++i) {
    const Item& item = items_[i];
    if (item.route.layer != l || item.route.point != point) continue;
    if (item.route.way == Way::kStream) enter_stream(item.route, *item.intervention, *item.host, config_, i, out);
    if (item.route.way == Way::kNeurons) neurons.push_back(static_cast<int64_t>(i));
    if (item.route.way == Way::kHeads) heads[item.intervention->edits[0].site.kind].push_back(static_cast<int64_t>(i));
  }
  for (const auto& [kind, items] : heads) enter_heads(l, items, out);
  if (!neurons.empty()) enter_neurons(l, neurons, out);
  plan(out, first_part);
}

void Layers::enter_heads(int l, std::span<const int64_t> items, RowStore& out) {
  std::vector<const Item*> pointers;
  for (const int64_t i : items) pointers.push_back(&items_[i]);
  const std::vector<HeadChange> changes = head_changes(model_, l, pointers);
  const Site stream = stream_site(after_attention(config_), l);
  const int64_t d = config_.d_model;
  Changes products(model_, macs_);
  const Tensor w_o = plain(model_, model_.weights().layers[l].w_o);
  struct Row {
    const float* delta;
    int64_t row;
  };
  std::vector<Row> rows;
  for (size_t i = 0; i < items.size(); ++i) {
    const HeadChange& c = changes[i];
    out.begin(items[i]);
    for (size_t j = 0; j < c.positions.size(); ++j) {
      const int64_t width = c.delta.row_size();
      const float* delta = c.delta.f32() + static_cast<int64_t>(j) * width;
      if (all_zero(delta, width)) continue;
      float* row = out.add_row(c.positions[j]);
      std::copy_n(std::as_const(pointers[i]->host->at(stream.kind, l)).f32() + c.positions[j] * d, d, row);
      rows.push_back({delta, out.rows() - 1});
    }
    out.end();
  }
  const bool is_result = !changes.empty() && pointers[0]->intervention->edits[0].site.kind == SiteKind::kResult;
  for (int64_t h = 0; h < config_.n_heads; ++h) {
    const int64_t k = is_result ? d : config_.d_head;
    for (const Row& r : rows) {
      const float* delta = r.delta + h * k;
      if (all_zero(delta, k)) continue;
      if (is_result) model_.context().kernels.add_scaled(d, 1.0f, delta, out.row(r.row));
      else products.add(r.row, delta, k, w_o.f32() + h * k * d);
    }
    products.flush(out);
  }
}

void Layers::enter_neurons(int l, std::span<const int64_t> items, RowStore& out) {
  const Tensor w_out = plain(model_, model_.weights().layers[l].w_out);
  const int64_t d = config_.d_model, m = config_.d_mlp;
  for (const int64_t i : items) {
    const Item& item = items_[i];
    const Tensor before = item.host->at(SiteKind::kMlpPost, l), after = edited_value(*item.intervention, *item.host);
    const Tensor& stream = item.host->at(SiteKind::kResidPost, l);
    out.begin(i);
    for (int64_t p = item.route.position; p < item.host->length(); ++p) {
      float* row = nullptr;
      for (int64_t n = 0; n < m; ++n) {
        const float change = after.f32()[p * m + n] - before.f32()[p * m + n];
        if (change == 0) continue;
        if (!row) {
          row = out.add_row(static_cast<int32_t>(p));
          std::copy_n(stream.f32() + p * d, d, row);
        }
        model_.context().kernels.add_scaled(d, change, w_out.f32() + n * d, row);
        macs_.executed += d;
        macs_.planned += d;
      }
    }
    out.end();
  }
}

// Blocks with edits in them: all rows from the first changed one on, under a plan.
void Layers::run_whole(int l, const RowStore& in, RowStore& out) {
  if (in.empty()) return;
  std::vector<KvCache> caches;
  std::vector<StepRows> rows;
  caches.reserve(in.parts().size());
  for (const RowStore::Part& part : in.parts()) {
    const Item& item = items_[part.item];
    caches.push_back(empty_cache(config_));
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) caches.back().head(l, h) = item.host->cache.head(l, h);
    rows.push_back({item.host, &caches.back(), part.positions});
  }
  const Batch batch = step_batch(rows);
  Plan plan;
  std::vector<Site> sites;
  for (const RowStore::Part& part : in.parts())
    for (const Edit& e : items_[part.item].intervention->edits)
      if (e.site.layer == l) sites.push_back(e.site);
  std::sort(sites.begin(), sites.end());
  sites.erase(std::unique(sites.begin(), sites.end()), sites.end());
  for (const Site& site : sites)
    plan.edit({.site = site, .op = EditOp::kCustom, .custom = [&](SiteValue& v) {
                 for (size_t s = 0; s < in.parts().size(); ++s) {
                   if (v.sequence >= 0 && v.sequence != static_cast<int>(s)) continue;
                   for (const Edit& e : items_[in.parts()[s].item].intervention->edits)
                     if (e.site == v.site) write_edit(e, v, static_cast<int>(s));
                 }
               }});
  plan.stop_after_layer = l;
  const Forward f = forward(
      model_, {.batch = batch, .plan = &plan, .first_layer = l, .residual = in.tensor(model_.arena()), .macs = &macs_.executed});
  for (size_t s = 0; s < in.parts().size(); ++s) {
    const RowStore::Part& part = in.parts()[s];
    out.begin(part.item);
    for (size_t i = 0; i < part.positions.size(); ++i)
      std::copy_n(std::as_const(f.residual.data).f32() + (part.first + static_cast<int64_t>(i)) * config_.d_model,
                  config_.d_model, out.add_row(part.positions[i]));
    out.end();
  }
}

void Layers::run_plain(int l, const RowStore& in, const RowStore& mid, RowStore& out) {
  const int64_t d = config_.d_model, q_width = config_.n_heads * config_.d_head;
  std::vector<StepRows> changed, onward, asking;
  std::vector<std::vector<int32_t>> onward_positions, asking_positions;
  std::vector<KvCache> caches;
  caches.reserve(in.parts().size());
  onward_positions.reserve(in.parts().size());
  asking_positions.reserve(in.parts().size());
  std::vector<int64_t> asking_rows;
  for (const RowStore::Part& part : in.parts()) {
    const Item& item = items_[part.item];
    caches.push_back(empty_cache(config_));
    for (int64_t h = 0; h < config_.n_kv_heads; ++h) caches.back().head(l, h) = item.host->cache.head(l, h);
    onward_positions.push_back(last(l) ? wanted(item, part.positions[0]) : rows_from(part.positions[0], item.host->length()));
    changed.push_back({item.host, &caches.back(), part.positions});
    onward.push_back({item.host, &caches.back(), onward_positions.back()});
    std::vector<int32_t>& asks = asking_positions.emplace_back();
    for (size_t i = 0; i < part.positions.size(); ++i)
      if (!last(l) || std::binary_search(onward_positions.back().begin(), onward_positions.back().end(), part.positions[i])) {
        asks.push_back(part.positions[i]);
        asking_rows.push_back(part.first + static_cast<int64_t>(i));
      }
    asking.push_back({item.host, &caches.back(), asks});
  }

  Tensor stream;  // [onward rows and mid rows, D], what the MLP reads (serial)
  const Batch onward_batch = step_batch(onward);
  const int64_t n = onward_batch.rows(), n_mid = mid.rows();
  Tensor resid = Tensor::empty({n, d}, model_.arena()), q = Tensor::empty({n, config_.n_heads, config_.d_head}, model_.arena());
  Value after_attention_rows;
  if (!in.empty()) {
    const Batch changed_batch = step_batch(changed), asking_batch = step_batch(asking);
    Pass keys(model_, {.batch = changed_batch, .macs = &macs_.executed}),
        queries(model_, {.batch = asking_batch, .macs = &macs_.executed});
    const Tensor x = in.tensor(model_.arena());
    const QkvRows kv = keys.project_keys(l, x);
    keys.remember(l, kv.k, kv.v);
    Tensor asking_x = Tensor::empty({std::ssize(asking_rows), d}, model_.arena());
    for (size_t i = 0; i < asking_rows.size(); ++i)
      std::copy_n(in.row(asking_rows[i]), d, asking_x.f32() + static_cast<int64_t>(i) * d);
    Value new_q;
    if (!asking_rows.empty()) new_q = queries.project_queries(l, asking_x);
    int64_t row = 0, next_q = 0;
    for (size_t s = 0; s < in.parts().size(); ++s) {
      const RowStore::Part& part = in.parts()[s];
      const HostRun& host = *items_[part.item].host;
      for (const int32_t p : onward_positions[s]) {
        const auto at = std::lower_bound(part.positions.begin(), part.positions.end(), p);
        const bool is_new = at != part.positions.end() && *at == p;
        std::copy_n(is_new ? in.row(part.first + (at - part.positions.begin()))
                           : std::as_const(host.at(SiteKind::kResidPre, l)).f32() + p * d,
                    d, resid.f32() + row * d);
        std::copy_n(is_new ? std::as_const(new_q.data).f32() + next_q++ * q_width
                           : std::as_const(host.at(SiteKind::kQ, l)).f32() + p * q_width,
                    q_width, q.f32() + row * q_width);
        ++row;
      }
    }
    if (n > 0) {
      Pass pass(model_, {.batch = onward_batch, .macs = &macs_.executed});
      after_attention_rows = call<Add>(nullptr, model_.context(), {}, Value(resid), pass.write_heads(l, pass.attend(l, q)));
    }
  }

  // The MLP reads the stream after attention, or beside it.
  std::vector<StepRows> all = onward;
  std::vector<std::vector<int32_t>> mid_positions;
  mid_positions.reserve(mid.parts().size());
  std::vector<int64_t> mid_rows;
  for (const RowStore::Part& part : mid.parts()) {
    const Item& item = items_[part.item];
    const std::vector<int32_t> wants = wanted(item, part.positions[0]);
    std::vector<int32_t>& keep = mid_positions.emplace_back();
    for (size_t i = 0; i < part.positions.size(); ++i)
      if (!last(l) || std::binary_search(wants.begin(), wants.end(), part.positions[i])) {
        keep.push_back(part.positions[i]);
        mid_rows.push_back(part.first + static_cast<int64_t>(i));
      }
    all.push_back({item.host, nullptr, keep});
  }
  (void)n_mid;
  const Batch all_batch = step_batch(all);
  const int64_t total = all_batch.rows();
  if (total == 0) return;
  stream = Tensor::empty({total, d}, model_.arena());
  if (n > 0) std::copy_n(std::as_const(after_attention_rows.data).f32(), n * d, stream.f32());
  for (size_t i = 0; i < mid_rows.size(); ++i)
    std::copy_n(mid.row(mid_rows[i]), d, stream.f32() + (n + static_cast<int64_t>(i)) * d);
  Value result(stream);
  if (config_.has_mlp()) {
    Pass pass(model_, {.batch = all_batch, .macs = &macs_.executed});
    const Value mlp_out = pass.mlp(l, config_.parallel ? Value(resid) : Value(stream));
    result = call<Add>(nullptr, model_.context(), {}, Value(stream), mlp_out);
  }
  int64_t row = 0;
  for (size_t s = 0; s < all.size(); ++s) {
    out.begin(s < in.parts().size() ? in.parts()[s].item : mid.parts()[s - in.parts().size()].item);
    for (const int32_t p : all[s].positions) std::copy_n(std::as_const(result.data).f32() + row++ * d, d, out.add_row(p));
    out.end();
  }
}

}  // namespace microtome::sweep
