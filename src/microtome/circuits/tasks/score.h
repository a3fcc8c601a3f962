// How well a model does on prompt pairs: the metric of both sides, and how often it is right.
//
//   TaskScore score = score_examples(model, examples, Metric(MetricKind::kLogitDiff));
//   score.accuracy;  score.clean;                     // means over the prompts
//
// Right means: every wrong answer is less likely than the likeliest answer (logit-diff, kl with answers), the difference is
// positive (prob-diff), or the likeliest token is the one that comes (loss, share of the scored tokens). One thread.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/example.h"
#include "microtome/circuits/metric.h"
#include "microtome/model/model.h"

namespace microtome {

struct TaskScore {
  std::vector<double> clean, corrupted;  // the metric of each prompt's sides; corrupted is scored with the clean side's answers
  std::vector<double> right;             // of the clean side: 0, 1, or a share
  double mean_clean = 0, mean_corrupted = 0;
  double accuracy = 0;  // mean of `right`
  double chance = 0;    // what guessing among the named answers would give
  bool ok = false;      // at least half the way from chance to 1
};

// Metrics of all examples (each is checked first: Metric::check), in batches of about 2,000 tokens. For kl the clean side is 0.
// `corrupted_too` = false: only the clean side runs.
TaskScore score_examples(const Model& model, std::span<const Example> examples, const Metric& metric,
                         Progress* progress = nullptr, bool corrupted_too = true);

}  // namespace microtome
