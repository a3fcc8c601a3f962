#include "microtome/circuits/sweep/layer.h"

#include <algorithm>

#include "microtome/circuits/sweep/cost.h"
#include "microtome/circuits/sweep/heads.h"
#include "microtome/circuits/sweep/plain.h"

namespace microtome::sweep {
namespace {

// [K, N] as plain numbers.
Tensor plain(const Model& model, const Matrix& m) {
  Tensor w = Tensor::empty({m.view.k, m.view.n}, model.arena());
  model.context().kernels.unpack(m.view, 0, m.view.n, m.view.n, 1, w.f32());
  return w;
}

// Products of many changes with one matrix, added to the rows that they change.
class Changes {
 public:
  Changes(const Model& model, SweepMacs& macs) : model_(model), macs_(macs) {}

  // Row `row` is to gain change [k] · w [k, D]; until flush(), w is the same for all.
  void add(int64_t row, const float* change, int64_t k, const float* w) {
    inputs_.insert(inputs_.end(), change, change + k);
    targets_.push_back(row);
    k_ = k;
    w_ = w;
  }
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
    RowStore& to = edited_at(items_[part.item].route, *items_[part.item].intervention, l) ? whole : plain;
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
    caches.push_back(block_cache(*item.host, config_, l));
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
  PlainBlock(model_, items_, l, macs_).run(in, mid, out);
}

}  // namespace microtome::sweep
