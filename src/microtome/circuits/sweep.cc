#include "microtome/circuits/sweep.h"

#include <map>

#include "microtome/base/error.h"

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
  plan.logit_columns = host.columns;
  return forward(model, {.batch = batch, .plan = &plan}).logits.data.clone();
}

std::vector<Tensor> values_at(const Model& model, std::span<const int32_t> tokens, std::span<const Site> sites) {
  std::vector<Tensor> values(sites.size());
  Batch batch;
  batch.add_sequence(tokens);
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  for (size_t i = 0; i < sites.size(); ++i) plan.read(sites[i], [&values, i](const SiteValue& v) { values[i] = v.data.clone(); });
  forward(model, {.batch = batch, .plan = &plan});
  return values;
}

struct Sweep::State {
  const Model& model;
  std::vector<SweepHost> hosts;
  SweepOptions options;
  std::vector<Tensor> logits;
  std::map<std::pair<int, Site>, Tensor> values;
  SweepMacs macs;
};

Sweep::Sweep(const Model& model, std::vector<SweepHost> hosts, const SweepOptions& options)
    : state_(new State{model, std::move(hosts), options, {}, {}, {}}) {
  for (const SweepHost& host : state_->hosts) state_->logits.push_back(run_alone(model, host, {}));
}

Sweep::~Sweep() = default;

int64_t Sweep::hosts() const { return std::ssize(state_->hosts); }

const Tensor& Sweep::host_logits(int host) const { return state_->logits.at(host); }

const Tensor& Sweep::host_value(int host, Site site) {
  Tensor& value = state_->values[{host, site}];
  if (!value.defined()) value = values_at(state_->model, state_->hosts.at(host).tokens, std::array{site})[0];
  return value;
}

void Sweep::run(std::span<const Intervention> interventions, const Sink& sink) {
  Progress* progress = state_->options.progress;
  if (progress) progress->begin("sweep", static_cast<double>(interventions.size()));
  for (size_t i = 0; i < interventions.size(); ++i) {
    sink(i, run_alone(state_->model, state_->hosts.at(interventions[i].host), interventions[i].edits));
    if (progress) progress->step();
  }
  if (progress) progress->end();
}

const SweepMacs& Sweep::macs() const { return state_->macs; }

}  // namespace microtome
