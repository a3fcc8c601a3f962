#include "microtome/circuits/patching/runs.h"

#include <algorithm>

#include "microtome/base/error.h"

namespace microtome {
namespace {

// Adds the sites that `values` lacks, in one pass.
void read_values(const Model& model, const std::vector<int32_t>& tokens, const std::vector<Site>& sites,
                 std::map<Site, Tensor>& values) {
  std::vector<Site> missing;
  for (const Site& s : sites)
    if (!values.contains(s)) missing.push_back(s);
  if (missing.empty()) return;
  std::vector<Tensor> read = values_at(model, tokens, missing);
  for (size_t k = 0; k < missing.size(); ++k) values[missing[k]] = std::move(read[k]);
}

}  // namespace

PatchRuns::PatchRuns(const Model& model, PatchSetup setup) : model_(model), setup_(std::move(setup)) {
  if (setup_.examples.empty()) throw Error(ErrorKind::kInvalidArgument, "there is no pair of prompts to patch");
  std::vector<SweepHost> hosts;
  for (size_t i = 0; i < size(); ++i) {
    const Example& e = example(i);
    check_example(e, config());
    setup_.metric.check(e);
    const auto differ = std::mismatch(e.clean.begin(), e.clean.end(), e.corrupted.begin());
    first_difference_.push_back(differ.first - e.clean.begin());
    hosts.push_back(host(i));
  }
  sweep_ =
      std::make_unique<Sweep>(model_, std::move(hosts), SweepOptions{.memory_gb = setup_.memory_gb, .progress = setup_.progress});
  for (size_t i = 0; i < size(); ++i) {
    const Tensor other = run_alone(model_, host_of(i, !denoises()), {});
    const Tensor& own = sweep_->host_logits(static_cast<int>(i));
    clean_logits_.push_back((denoises() ? other : own).clone());
    clean_.push_back(metric_of(i, denoises() ? other : own));
    corrupted_.push_back(metric_of(i, denoises() ? own : other));
  }
  host_values_.resize(size());
  other_values_.resize(size());
}

int64_t PatchRuns::longest() const {
  int64_t n = 0;
  for (const Example& e : setup_.examples) n = std::max(n, e.length());
  return n;
}

SweepHost PatchRuns::host_of(size_t i, bool corrupted) const {
  const Example& e = example(i);
  return {
      .tokens = corrupted ? e.corrupted : e.clean, .positions = setup_.metric.positions(e), .columns = setup_.metric.columns(e)};
}

double PatchRuns::metric_of(size_t i, const Tensor& logits) const {
  return setup_.metric.value(example(i), logits, clean_logits(i));
}

Tensor PatchRuns::metric_gradient(size_t i, const Tensor& logits) const {
  return setup_.metric.gradient(example(i), logits, clean_logits(i));
}

void PatchRuns::need(const std::vector<Site>& sites) {
  if (setup_.progress) setup_.progress->begin("base runs", static_cast<double>(2 * size()));
  for (size_t i = 0; i < size(); ++i) {
    read_values(model_, host(i).tokens, sites, host_values_[i]);
    if (setup_.progress) setup_.progress->step();
    read_values(model_, host_of(i, !denoises()).tokens, sites, other_values_[i]);
    if (setup_.progress) setup_.progress->step();
  }
  if (setup_.progress) setup_.progress->end();
}

std::vector<Tensor> PatchRuns::mean_values(size_t i, Site site) {
  std::vector<Tensor> out;
  if (i >= setup_.mean_prompts.size()) return out;
  for (const std::vector<int32_t>& prompt : setup_.mean_prompts[i]) {
    Values& values = mean_values_[prompt];
    if (!values.contains(site)) {
      std::vector<Site> sites;  // every layer's at once
      for (int l = 0; l < config().n_layers; ++l) sites.push_back({site.kind, l});
      read_values(model_, prompt, sites, values);
    }
    out.push_back(values.at(site));
  }
  return out;
}

}  // namespace microtome
