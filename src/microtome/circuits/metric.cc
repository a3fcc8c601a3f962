#include "microtome/circuits/metric.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr std::array<std::string_view, 4> kNames{"logit-diff", "prob-diff", "kl", "loss"};

// ln sum e^x, in double.
double log_sum(const float* x, int64_t n) {
  const double top = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  return top + std::log(sum);
}

// What each answer token weighs in a difference: answers share 1 (or count 1 each), wrong ones the same with minus; of
// several wrong ones the best alone, where the example says so.
struct Weight {
  size_t index;  // into answers, then wrong
  double weight;
};

template <class Score>  // score(index): of a wrong answer
std::vector<Weight> weights_of(const Example& e, bool mean, const Score& score) {
  std::vector<Weight> out;
  const size_t n = e.answers.size(), m = e.wrong.size();
  for (size_t i = 0; i < n; ++i) out.push_back({i, mean ? 1.0 / static_cast<double>(n) : 1.0});
  if (e.best_wrong && m > 0) {
    size_t best = n;
    for (size_t i = n + 1; i < n + m; ++i)
      if (score(i) > score(best)) best = i;
    out.push_back({best, -1.0});
    return out;
  }
  for (size_t i = 0; i < m; ++i) out.push_back({n + i, mean ? -1.0 / static_cast<double>(m) : -1.0});
  return out;
}

int32_t token_at(const Example& e, size_t index) {
  return index < e.answers.size() ? e.answers[index] : e.wrong[index - e.answers.size()];
}

}  // namespace

std::string_view metric_name(MetricKind kind) { return kNames[static_cast<size_t>(kind)]; }

MetricKind parse_metric(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<MetricKind>(i);
  throw Error(ErrorKind::kInvalidArgument, "metric \"{}\": expected logit-diff, prob-diff, kl or loss", printable(name));
}

std::vector<int32_t> Metric::positions(const Example& e) const {
  const auto last = static_cast<int32_t>(e.length()) - 1;
  if (kind_ != MetricKind::kLoss) return {last};
  std::vector<int32_t> out;
  for (auto p = static_cast<int32_t>(e.loss_from); p < last; ++p) out.push_back(p);
  return out;
}

std::vector<int32_t> Metric::columns(const Example& e) const {
  if (kind_ != MetricKind::kLogitDiff) return {};
  std::vector<int32_t> out = e.answers;
  out.insert(out.end(), e.wrong.begin(), e.wrong.end());
  return out;
}

void Metric::check(const Example& e) const {
  if (kind_ == MetricKind::kLoss && e.loss_from + 1 >= e.length())
    throw Error(ErrorKind::kInvalidArgument, "metric loss: no token is predicted after position {} of a prompt of {} tokens",
                e.loss_from, e.length());
  const bool needs_answer = kind_ == MetricKind::kLogitDiff || kind_ == MetricKind::kProbDiff;
  if (needs_answer && e.answers.empty())
    throw Error(ErrorKind::kInvalidArgument, "metric {}: the example names no answer; give --answer, or --metric kl",
                metric_name(kind_));
  if (kind_ == MetricKind::kLogitDiff && e.wrong.empty())
    throw Error(ErrorKind::kInvalidArgument,
                "metric logit-diff: the example names no wrong answer; give --wrong, or --metric prob-diff");
}

double Metric::value(const Example& e, const Tensor& logits, const Tensor* clean) const {
  const int64_t rows = logits.size(0), n = logits.size(-1);
  const float* x = logits.f32();
  double total = 0;
  switch (kind_) {
    case MetricKind::kLogitDiff:
      for (const Weight& w : weights_of(e, true, [&](size_t i) { return x[i]; })) total += w.weight * x[w.index];
      return total;
    case MetricKind::kProbDiff: {
      const double lse = log_sum(x, n);
      for (const Weight& w : weights_of(e, false, [&](size_t i) { return x[token_at(e, i)]; }))
        total += w.weight * std::exp(x[token_at(e, w.index)] - lse);
      return total;
    }
    case MetricKind::kKl: {
      MT_CHECK(clean != nullptr);
      const float* c = clean->f32();
      const double clean_lse = log_sum(c, n), lse = log_sum(x, n);
      for (int64_t i = 0; i < n; ++i) {
        const double log_p = c[i] - clean_lse;
        total += std::exp(log_p) * (log_p - (x[i] - lse));
      }
      return total;
    }
    case MetricKind::kLoss:
      for (int64_t r = 0; r < rows; ++r) total += log_sum(x + r * n, n) - x[r * n + e.clean[e.loss_from + r + 1]];
      return total / static_cast<double>(rows);
  }
  return 0;
}

Tensor Metric::gradient(const Example& e, const Tensor& logits, const Tensor* clean) const {
  const int64_t rows = logits.size(0), n = logits.size(-1);
  const float* x = logits.f32();
  Tensor out = Tensor::zeros(logits.shape());
  float* g = out.f32();
  switch (kind_) {
    case MetricKind::kLogitDiff:
      for (const Weight& w : weights_of(e, true, [&](size_t i) { return x[i]; })) g[w.index] += static_cast<float>(w.weight);
      break;
    case MetricKind::kProbDiff: {
      const double lse = log_sum(x, n), m = value(e, logits);
      std::vector<double> d(n);
      for (int64_t i = 0; i < n; ++i) d[i] = -m * std::exp(x[i] - lse);
      for (const Weight& w : weights_of(e, false, [&](size_t i) { return x[token_at(e, i)]; })) {
        const int32_t t = token_at(e, w.index);
        d[t] += w.weight * std::exp(x[t] - lse);
      }
      for (int64_t i = 0; i < n; ++i) g[i] = static_cast<float>(d[i]);
      break;
    }
    case MetricKind::kKl: {
      MT_CHECK(clean != nullptr);
      const float* c = clean->f32();
      const double clean_lse = log_sum(c, n), lse = log_sum(x, n);
      for (int64_t i = 0; i < n; ++i) g[i] = static_cast<float>(std::exp(x[i] - lse) - std::exp(c[i] - clean_lse));
      break;
    }
    case MetricKind::kLoss:
      for (int64_t r = 0; r < rows; ++r) {
        const double lse = log_sum(x + r * n, n);
        const int32_t target = e.clean[e.loss_from + r + 1];
        for (int64_t i = 0; i < n; ++i)
          g[r * n + i] =
              static_cast<float>((std::exp(x[r * n + i] - lse) - (i == target ? 1.0 : 0.0)) / static_cast<double>(rows));
      }
      break;
  }
  return out;
}

}  // namespace microtome
