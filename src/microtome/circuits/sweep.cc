#include "microtome/circuits/sweep.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "microtome/base/error.h"
#include "microtome/circuits/sweep/cost.h"

namespace microtome {

Edit set_edit(Site site, Slice where, Tensor value) {
  return {.site = site, .where = where, .op = EditOp::kSet, .value = std::move(value)};
}

Edit zero_edit(Site site, Slice where) { return {.site = site, .where = where, .op = EditOp::kZero}; }

Edit add_edit(Site site, Slice where, Tensor value, float factor) {
  return {.site = site, .where = where, .op = EditOp::kAdd, .factor = factor, .value = std::move(value)};
}

Tensor run_alone(const Model& model, const SweepHost& host, std::span<const Edit> edits) {
  Batch batch;
  batch.add_sequence(host.tokens);
  Plan plan;
  for (const Edit& e : edits) plan.edit(e);
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = host.positions;
  // Edits of the logits see all of them.
  const bool logits_edited = std::any_of(edits.begin(), edits.end(), [](const Edit& e) {
    return e.site.kind == SiteKind::kUnembedOut || e.site.kind == SiteKind::kLogits;
  });
  if (!logits_edited) plan.logit_columns = host.columns;
  const Tensor all = forward(model, {.batch = batch, .plan = &plan}).logits.data;
  if (!logits_edited || host.columns.empty()) return all.clone();
  Tensor out = Tensor::empty({all.size(0), std::ssize(host.columns)});
  for (int64_t r = 0; r < out.size(0); ++r)
    for (int64_t c = 0; c < out.size(1); ++c) out.f32()[r * out.size(1) + c] = all.f32()[r * all.size(1) + host.columns[c]];
  return out;
}

struct Sweep::State {
  const Model& model;
  SweepOptions options;
  std::vector<sweep::HostRun> hosts;
  SweepMacs macs;
};

namespace {

using sweep::Item;
using sweep::Way;

// Rows in one step beyond which nothing is gained.
constexpr int64_t kStepRows = 4096;

// Bytes that one intervention needs while it is in flight.
double bytes_of(const Item& item, const Config& c) {
  const auto n = static_cast<double>(item.host->length() - std::min(item.route.position, item.host->length()));
  const auto blocks = static_cast<double>((item.host->length() + kKeyBlock - 1) / kKeyBlock);
  const auto per_row = static_cast<double>(8 * c.d_model + 3 * (c.n_heads + c.n_kv_heads) * c.d_head + 3 * c.d_mlp);
  return 4 * (n * per_row + blocks * static_cast<double>(kKeyBlock * c.n_kv_heads * 2 * c.d_head));
}

// Consecutive items that fit into the budget together, at least one.
size_t chunk_end(std::span<const Item> items, size_t first, double budget, const Config& c) {
  double bytes = 0;
  int64_t rows = 0;
  size_t last = first;
  while (last < items.size()) {
    bytes += bytes_of(items[last], c);
    rows += items[last].host->length() - items[last].route.position;
    if (last > first && (bytes > budget || rows > kStepRows)) break;
    ++last;
  }
  return last;
}

// Logits of the items' changed rows, written over copies of their hosts' logits, and handed on.
void finish(const Model& model, std::span<const Item> items, const sweep::RowStore& stream, SweepMacs& macs,
            const Sweep::Sink& sink) {
  std::vector<Tensor> logits(items.size());
  for (size_t i = 0; i < items.size(); ++i) logits[i] = items[i].host->logits;
  struct Target {
    size_t item;
    int64_t logit_row;
  };
  std::map<std::vector<int32_t>, std::vector<std::pair<Target, int64_t>>> groups;
  for (const auto& part : stream.parts()) {
    const Item& item = items[part.item];
    logits[part.item] = logits[part.item].clone();
    const std::vector<int32_t>& wanted = item.host->spec.positions;
    for (size_t w = 0; w < wanted.size(); ++w) {
      const auto at = std::lower_bound(part.positions.begin(), part.positions.end(), wanted[w]);
      if (at == part.positions.end() || *at != wanted[w]) continue;
      groups[item.host->spec.columns].push_back(
          {{static_cast<size_t>(part.item), static_cast<int64_t>(w)}, part.first + (at - part.positions.begin())});
    }
  }
  const int64_t d = model.config().d_model;
  for (const auto& [columns, rows] : groups) {
    // Whole rows of logits are wide: few at a time.
    const size_t step = columns.empty() ? 256 : rows.size();
    for (size_t first = 0; first < rows.size(); first += step) {
      const size_t last = std::min(rows.size(), first + step);
      Tensor x = Tensor::empty({static_cast<int64_t>(last - first), d}, model.arena());
      for (size_t i = first; i < last; ++i)
        std::copy_n(stream.row(rows[i].second), d, x.f32() + static_cast<int64_t>(i - first) * d);
      const Tensor y = unembed(model, x, columns, &macs.executed);
      for (size_t i = first; i < last; ++i)
        std::copy_n(y.f32() + static_cast<int64_t>(i - first) * y.size(1), y.size(1),
                    logits[rows[i].first.item].f32() + rows[i].first.logit_row * y.size(1));
    }
  }
  for (size_t i = 0; i < items.size(); ++i) sink(items[i].index, logits[i]);
}

}  // namespace

Sweep::Sweep(const Model& model, std::vector<SweepHost> hosts, const SweepOptions& options)
    : state_(new State{model, options, {}, {}}) {
  for (const Edit& e : options.edits)
    if (e.op == EditOp::kMean)
      throw Error(ErrorKind::kInvalidArgument, "{}: a sweep takes means as values, not the operation `mean`", site_name(e.site));
  state_->hosts = sweep::run_hosts(model, std::move(hosts), options.edits, options.progress);
}

Sweep::~Sweep() = default;

int64_t Sweep::hosts() const { return std::ssize(state_->hosts); }

const Tensor& Sweep::host_logits(int host) const { return state_->hosts.at(host).logits; }

const Tensor& Sweep::host_value(int host, Site site) {
  Tensor& value = state_->hosts.at(host).values[site];
  if (!value.defined())
    value = values_at(state_->model, state_->hosts[host].spec.tokens, std::array{site}, state_->options.edits)[0];
  return value;
}

void Sweep::run(std::span<const Intervention> interventions, const Sink& sink) {
  const Model& model = state_->model;
  Progress* progress = state_->options.progress;
  std::vector<Item> items, alone;
  std::set<SiteKind> kinds;
  const std::vector<Edit>& base = state_->options.edits;
  std::vector<Intervention> with_base(base.empty() ? 0 : interventions.size());
  for (size_t i = 0; i < interventions.size(); ++i) {
    const sweep::HostRun& host = state_->hosts.at(interventions[i].host);
    Item item{&interventions[i], i, sweep::route_of(interventions[i], host, model), &host};
    if (!base.empty()) {
      item.route = sweep::route_on(base, item.route, interventions[i], with_base[i]);
      item.intervention = &with_base[i];
    }
    state_->macs.plain += sweep::plain_macs(item, model.config());
    for (const SiteKind k : sweep::needs_of(item.route, *item.intervention, model.config())) kinds.insert(k);
    (item.route.way == Way::kAlone ? alone : items).push_back(item);
  }
  sweep::need(model, state_->hosts, std::vector<SiteKind>(kinds.begin(), kinds.end()), base, progress);
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.route.layer < b.route.layer; });
  if (progress) progress->begin("sweep", static_cast<double>(interventions.size()));
  const double budget = state_->options.memory_gb * 1e9;
  for (size_t first = 0; first < items.size();) {
    const size_t last = chunk_end(items, first, budget, model.config());
    const std::span chunk(items.data() + first, last - first);
    sweep::Layers layers(model, chunk, state_->macs);
    const double steps = static_cast<double>(model.config().n_layers - chunk[0].route.layer);
    const sweep::RowStore stream = layers.run([&](int) {
      if (progress) progress->step(static_cast<double>(chunk.size()) / steps);
    });
    finish(model, chunk, stream, state_->macs, sink);
    first = last;
  }
  for (const Item& item : alone) {
    sink(item.index, run_alone(model, item.host->spec, item.intervention->edits));
    state_->macs.planned += sweep::plain_macs(item, model.config());
    state_->macs.executed += sweep::plain_macs(item, model.config());
    if (progress) progress->step();
  }
  if (progress) progress->end();
}

const SweepMacs& Sweep::macs() const { return state_->macs; }

}  // namespace microtome
