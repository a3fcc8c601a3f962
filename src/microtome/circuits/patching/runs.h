// The two runs of every example: which one is changed (the host) and which one values come from (the other), their metric, and
// their values at sites.
//
//   PatchRuns runs(model, {.examples = examples, .metric = metric, .direction = PatchDirection::kDenoise});
//   runs.need(sites);                                   // one forward pass of each run
//   runs.host_value(i, site); runs.other_value(i, site) // [T, ..], patterns [H, T, T]
//   runs.sweep().run(interventions, ...);               // host i of the sweep is example i
//
// One thread.
#pragma once

#include <map>
#include <memory>

#include "microtome/circuits/metric.h"
#include "microtome/circuits/sweep.h"

namespace microtome {

enum class PatchDirection : uint8_t {
  kDenoise,  // clean values into the corrupted run: what suffices
  kNoise,    // corrupted values into the clean run: what is necessary
};

struct PatchSetup {
  std::vector<Example> examples;
  // Prompts over which a mean ablation averages, position by position (IOI: the same template with three unrelated names), for
  // each example; none: over all positions of all hosts.
  std::vector<std::vector<std::vector<int32_t>>> mean_prompts = {};
  std::vector<Edit> edits = {};  // of both runs and of every change: the model that is patched is one with these in it; no kMean
  Metric metric{MetricKind::kLogitDiff};
  PatchDirection direction = PatchDirection::kDenoise;
  double memory_gb = 1;
  Progress* progress = nullptr;
};

// Multiply-adds with weights of a forward pass over so many tokens, logits of so many of them included.
double forward_macs(const Config& config, int64_t tokens, int64_t logit_rows);

class PatchRuns {
 public:
  // Throws InvalidArgument for no example, and what check_example and Metric::check throw.
  PatchRuns(const Model& model, PatchSetup setup);

  const Model& model() const { return model_; }
  const Config& config() const { return model_.config(); }
  const PatchSetup& setup() const { return setup_; }
  size_t size() const { return setup_.examples.size(); }
  const Example& example(size_t i) const { return setup_.examples[i]; }
  int64_t length(size_t i) const { return example(i).length(); }
  int64_t longest() const;
  // Position of the first token in which the two sides differ; the length where there is none.
  int64_t first_difference(size_t i) const { return first_difference_[i]; }

  Sweep& sweep() { return *sweep_; }
  // The sweep's multiply-adds, and those of cells that needed no run or were recomputed beside it.
  SweepMacs macs() const;
  void count_null(size_t i);              // a plain loop would have run example i
  void count_extra(size_t i, int64_t n);  // n passes over example i without logits
  SweepHost host(size_t i) const { return host_of(i, denoises()); }

  const std::vector<double>& clean() const { return clean_; }
  const std::vector<double>& corrupted() const { return corrupted_; }
  double host_metric(size_t i) const { return denoises() ? corrupted_[i] : clean_[i]; }
  double metric_of(size_t i, const Tensor& logits) const;
  // dM/dlogits of the host's run.
  Tensor metric_gradient(size_t i, const Tensor& logits) const;

  // Reads these sites in both runs of every example, all that are not there yet in one pass of each.
  void need(const std::vector<Site>& sites);
  const Tensor& host_value(size_t i, Site site) const { return host_values_[i].at(site); }
  const Tensor& other_value(size_t i, Site site) const { return other_values_[i].at(site); }
  // Values of the prompts that example i's mean is taken over; empty: none were given.
  std::vector<Tensor> mean_values(size_t i, Site site);

 private:
  bool denoises() const { return setup_.direction == PatchDirection::kDenoise; }
  SweepHost host_of(size_t i, bool corrupted) const;
  const Tensor* clean_logits(size_t i) const { return &clean_logits_[i]; }

  const Model& model_;
  PatchSetup setup_;
  std::vector<int64_t> first_difference_;
  std::unique_ptr<Sweep> sweep_;
  std::vector<Tensor> clean_logits_;
  std::vector<double> clean_, corrupted_;
  std::vector<SiteValues> host_values_, other_values_;
  SweepMacs extra_macs_;
  std::map<std::vector<int32_t>, SiteValues> mean_values_;  // by prompt: examples of one template share theirs
};

}  // namespace microtome
