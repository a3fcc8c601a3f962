// Metric: a number per example, from the logits at the positions where it is read, and its gradient.
//
//   Metric metric(MetricKind::kLogitDiff);
//   plan.chosen_rows = metric.positions(example); plan.logit_columns = metric.columns(example);
//   double m = metric.value(example, logits);                  // logits [positions, columns]
//   Tensor seed = metric.gradient(example, logits);            // same shape, dM/dlogits
//
// Definitions (circuits specification, section 7), at the last position unless said otherwise:
//   logit-diff  mean logit of the answers - mean logit of the wrong ones (the best of them where the example says so)
//   prob-diff   sum of the answers' probabilities - sum of the wrong ones'
//   kl          KL(clean run || this run), nats
//   loss        mean next-token cross-entropy of the clean prompt's tokens from `loss_from` on, nats
// Sums run in double, in a fixed order. Immutable.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "microtome/circuits/example.h"
#include "microtome/tensor/tensor.h"

namespace microtome {

enum class MetricKind : uint8_t { kLogitDiff, kProbDiff, kKl, kLoss };

// "logit-diff", ...; the reverse throws InvalidArgument with the names there are.
std::string_view metric_name(MetricKind kind);
MetricKind parse_metric(std::string_view name);

class Metric {
 public:
  explicit Metric(MetricKind kind) : kind_(kind) {}
  MetricKind kind() const { return kind_; }

  // Positions of the prompt whose logits it reads, rising.
  std::vector<int32_t> positions(const Example& example) const;
  // Vocabulary columns it reads, in the order of `logits`; empty: all.
  std::vector<int32_t> columns(const Example& example) const;
  // Smaller is better (kl, loss): the clean run has the lower value.
  bool falls() const { return kind_ == MetricKind::kKl || kind_ == MetricKind::kLoss; }
  // Throws InvalidArgument where the example lacks what the metric needs (answers, wrong answers, a token to predict).
  void check(const Example& example) const;

  // `logits` [positions, columns or V]. `clean`, of the same shape, is the clean run's (kl only).
  double value(const Example& example, const Tensor& logits, const Tensor* clean = nullptr) const;
  // dM/dlogits, f32, the shape of `logits`.
  Tensor gradient(const Example& example, const Tensor& logits, const Tensor* clean = nullptr) const;

 private:
  MetricKind kind_;
};

}  // namespace microtome
