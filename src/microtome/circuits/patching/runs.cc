#include "microtome/circuits/patching/runs.h"

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/model/macs.h"

namespace microtome {
double forward_macs(const Config& c, int64_t tokens, int64_t logit_rows) {
  return static_cast<double>(BlockMacs(c).total()) * static_cast<double>(c.n_layers * tokens) +
         static_cast<double>(c.d_model * c.vocab * logit_rows);
}

PatchRuns::PatchRuns(const Model& model, PatchSetup setup) : model_(model), setup_(std::move(setup)) {
  if (setup_.examples.empty()) throw Error(ErrorKind::kInvalidArgument, "there is no pair of prompts to patch");
  std::vector<SweepHost> hosts;
  for (size_t i = 0; i < size(); ++i) {
    const Example& e = example(i);
    check_example(e, config());
    setup_.metric.check(e);
    if (i < setup_.mean_prompts.size())
      for (const std::vector<int32_t>& prompt : setup_.mean_prompts[i])
        if (std::ssize(prompt) != e.length())
          throw Error(ErrorKind::kInvalidArgument,
                      "a prompt of the mean has {} tokens, its example {}; they must have equally many", prompt.size(),
                      e.length());
    const auto differ = std::mismatch(e.clean.begin(), e.clean.end(), e.corrupted.begin());
    first_difference_.push_back(differ.first - e.clean.begin());
    hosts.push_back(host(i));
  }
  sweep_ = std::make_unique<Sweep>(
      model_, std::move(hosts), SweepOptions{.edits = setup_.edits, .memory_gb = setup_.memory_gb, .progress = setup_.progress});
  std::vector<SweepHost> others;
  for (size_t i = 0; i < size(); ++i) others.push_back(host_of(i, !denoises()));
  const Sweep other_runs(model_, std::move(others), SweepOptions{.edits = setup_.edits, .progress = setup_.progress});
  for (size_t i = 0; i < size(); ++i) {
    const Tensor &other = other_runs.host_logits(static_cast<int>(i)), &own = sweep_->host_logits(static_cast<int>(i));
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

SweepMacs PatchRuns::macs() const {
  SweepMacs out = sweep_->macs();
  out.plain += extra_macs_.plain;
  out.planned += extra_macs_.planned;
  out.executed += extra_macs_.executed;
  return out;
}

void PatchRuns::count_null(size_t i) { extra_macs_.plain += static_cast<int64_t>(forward_macs(config(), length(i), length(i))); }

void PatchRuns::count_extra(size_t i, int64_t n) {
  const auto macs = static_cast<int64_t>(forward_macs(config(), length(i), 0)) * n;
  for (int64_t* total : {&extra_macs_.plain, &extra_macs_.planned, &extra_macs_.executed}) *total += macs;
}

void PatchRuns::need(const std::vector<Site>& sites) {
  std::vector<Site> missing;
  for (const Site& s : sites)
    if (!host_values_[0].contains(s) && std::find(missing.begin(), missing.end(), s) == missing.end()) missing.push_back(s);
  if (missing.empty()) return;
  std::vector<const std::vector<int32_t>*> prompts;
  std::vector<SiteValues*> values;
  for (size_t i = 0; i < size(); ++i) {
    const Example& e = example(i);
    prompts.insert(prompts.end(), {denoises() ? &e.corrupted : &e.clean, denoises() ? &e.clean : &e.corrupted});
    values.insert(values.end(), {&host_values_[i], &other_values_[i]});
  }
  if (setup_.progress) setup_.progress->begin("base runs", static_cast<double>(prompts.size()));
  Progress* progress = setup_.progress;
  read_values(model_, prompts, values, missing, {.edits = setup_.edits, .progress = progress, .passed = [progress](int64_t n) {
                                                   if (progress) progress->step(static_cast<double>(n));
                                                 }});
  if (setup_.progress) setup_.progress->end();
}

std::vector<Tensor> PatchRuns::mean_values(size_t i, Site site) {
  std::vector<Tensor> out;
  if (i >= setup_.mean_prompts.size() || setup_.mean_prompts[i].empty()) return out;
  if (mean_values_.empty() || !mean_values_.begin()->second.contains(site)) {
    // Every prompt's, at every layer, at once.
    std::vector<const std::vector<int32_t>*> prompts;
    std::vector<SiteValues*> values;
    for (const auto& of_example : setup_.mean_prompts)
      for (const std::vector<int32_t>& prompt : of_example) mean_values_[prompt];
    for (auto& [prompt, kept] : mean_values_) {
      prompts.push_back(&prompt);
      values.push_back(&kept);
    }
    std::vector<Site> sites;
    for (int l = 0; l < config().n_layers; ++l) sites.push_back({site.kind, l});
    read_values(model_, prompts, values, sites, {.edits = setup_.edits});
  }
  for (const std::vector<int32_t>& prompt : setup_.mean_prompts[i]) out.push_back(mean_values_.at(prompt).at(site));
  return out;
}

}  // namespace microtome
