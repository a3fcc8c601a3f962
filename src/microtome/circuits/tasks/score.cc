#include "microtome/circuits/tasks/score.h"

#include <algorithm>
#include <numeric>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr int64_t kBatchTokens = 2048;

// Logits [positions, V] of each example's side, where the metric reads them.
std::vector<Tensor> logits_of(const Model& model, std::span<const Example> examples, bool clean, const Metric& metric) {
  Batch batch;
  Plan plan;
  plan.logit_rows = LogitRows::kChosen;
  for (const Example& e : examples) {
    const auto first = static_cast<int32_t>(batch.rows());
    for (const int32_t p : metric.positions(e)) plan.chosen_rows.push_back(first + p);
    batch.add_sequence(clean ? e.clean : e.corrupted);
  }
  const Tensor all = forward(model, {.batch = batch, .plan = &plan}).logits.data;
  std::vector<Tensor> out;
  int64_t row = 0;
  for (const Example& e : examples) {
    const int64_t n = std::ssize(metric.positions(e));
    out.push_back(all.slice(row, row + n).clone());
    row += n;
  }
  return out;
}

Tensor columns_of(const Tensor& logits, const std::vector<int32_t>& columns) {
  if (columns.empty()) return logits;
  Tensor out = Tensor::zeros({logits.size(0), std::ssize(columns)});
  for (int64_t r = 0; r < logits.size(0); ++r)
    for (size_t c = 0; c < columns.size(); ++c)
      out.f32()[r * std::ssize(columns) + static_cast<int64_t>(c)] = logits.f32()[r * logits.size(1) + columns[c]];
  return out;
}

double right(const Example& e, const Metric& metric, const Tensor& logits, double value) {
  const int64_t v = logits.size(1);
  if (metric.kind() == MetricKind::kProbDiff && !e.wrong.empty()) return value > 0;
  if (metric.kind() == MetricKind::kLoss) {
    double hits = 0;
    for (int64_t r = 0; r < logits.size(0); ++r) {
      const float* row = logits.f32() + r * v;
      hits += std::max_element(row, row + v) - row == e.clean[e.loss_from + r + 1];
    }
    return hits / static_cast<double>(logits.size(0));
  }
  if (e.answers.empty()) return 1;
  const float* x = logits.f32() + (logits.size(0) - 1) * v;
  const auto best = [x](const std::vector<int32_t>& tokens) {
    return x[*std::max_element(tokens.begin(), tokens.end(), [x](int32_t a, int32_t b) { return x[a] < x[b]; })];
  };
  return e.wrong.empty() ? best(e.answers) >= *std::max_element(x, x + v) : best(e.answers) > best(e.wrong);
}

double chance_of(const Example& e, const Metric& metric) {
  if (metric.kind() == MetricKind::kLoss || e.answers.empty() || e.wrong.empty()) return 0;
  if (metric.kind() == MetricKind::kProbDiff) return .5;
  return static_cast<double>(e.answers.size()) / static_cast<double>(e.answers.size() + e.wrong.size());
}

double mean(const std::vector<double>& x) {
  return x.empty() ? 0 : std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

}  // namespace

TaskScore score_examples(const Model& model, std::span<const Example> examples, const Metric& metric, Progress* progress,
                         bool corrupted_too) {
  for (const Example& e : examples) {
    check_example(e, model.config());
    metric.check(e);
  }
  TaskScore out;
  if (progress) progress->begin("prompts", static_cast<double>(examples.size()));
  for (size_t begin = 0; begin < examples.size();) {
    size_t end = begin;
    for (int64_t tokens = 0; end < examples.size() && (end == begin || tokens + examples[end].length() <= kBatchTokens); ++end)
      tokens += examples[end].length();
    const auto part = examples.subspan(begin, end - begin);
    const std::vector<Tensor> clean = logits_of(model, part, true, metric);
    const std::vector<Tensor> corrupted = corrupted_too ? logits_of(model, part, false, metric) : std::vector<Tensor>();
    for (size_t i = 0; i < part.size(); ++i) {
      const Example& e = part[i];
      const Tensor reference = columns_of(clean[i], metric.columns(e));
      const double value = metric.value(e, reference, &reference);
      out.clean.push_back(value);
      if (corrupted_too) {
        const Tensor other = columns_of(corrupted[i], metric.columns(e));
        out.corrupted.push_back(metric.value(e, other, &reference));
      }
      out.right.push_back(right(e, metric, clean[i], value));
      out.chance += chance_of(e, metric) / static_cast<double>(examples.size());
    }
    if (progress) progress->step(static_cast<double>(part.size()));
    begin = end;
  }
  if (progress) progress->end();
  out.mean_clean = mean(out.clean);
  out.mean_corrupted = mean(out.corrupted);
  out.accuracy = mean(out.right);
  out.ok = out.accuracy >= (1 + out.chance) / 2;
  return out;
}

}  // namespace microtome
