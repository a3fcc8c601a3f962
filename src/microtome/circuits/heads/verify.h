// Does a detected head matter to what it is said to do? Its output is replaced by its mean, and so are as many random heads.
//
//   VerifyTask task{.name = "repeat", .metric = Metric(MetricKind::kLoss), .examples = {...}};
//   const VerifyResult r = verify(model, task, {{17, 4}, {17, 3}}, options, progress);
//   r.joint.effect; r.joint.control_mean; r.joint.control_sd;       // change of the metric: all candidates; random heads
//
// Mean ablation: attn.hook_z of the head is set, at every position, to its mean over all positions of the task's prompts. Each
// draw takes, for every candidate, one other head of its layer that is no candidate (no head twice in a draw); for a single
// candidate one head of any candidate's layer. All through one sweep. Same seed, same draws.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/circuits/metric.h"
#include "microtome/circuits/sweep.h"

namespace microtome::heads {

using algebra::HeadId;

struct VerifyTask {
  std::string name;
  Metric metric{MetricKind::kLoss};
  std::vector<Example> examples;  // their clean sides are run
};

struct VerifyOptions {
  int64_t draws = 20;
  uint64_t seed = 0;
  double memory_gb = 1;
  const Plan* edits = nullptr;  // of every run, the unablated one too; EditOp::kMean is refused
};

// Change of the metric's mean over the examples: ablated - as it is.
struct Effect {
  std::vector<HeadId> heads;
  double effect = 0;
  int64_t draws = 0;  // distinct draws that were made: fewer than asked for where the layers have no more other heads
  double control_mean = 0, control_sd = 0;  // over draws; sd with n - 1
};

struct VerifyResult {
  double base = 0;  // the metric as it is
  Effect joint;
  std::vector<Effect> single;  // of each candidate alone; empty if there is only one
};

// The comparison itself: `values` gives the figure of each set of heads, and the figure as it is in `base`.
using ValuesOfSets = std::function<std::vector<double>(const std::vector<std::vector<HeadId>>& sets, double& base)>;
VerifyResult compare_with_draws(const Config& config, const std::vector<HeadId>& candidates, const VerifyOptions& options,
                                const ValuesOfSets& values);

VerifyResult verify(const Model& model, const VerifyTask& task, const std::vector<HeadId>& candidates,
                    const VerifyOptions& options, Progress* progress = nullptr);

}  // namespace microtome::heads
