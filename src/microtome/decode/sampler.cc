#include "microtome/decode/sampler.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {

void validate(const SamplingOptions& o) {
  const auto need = [](bool good, const char* name, double value, const char* expected) {
    if (!good) throw Error(ErrorKind::kInvalidArgument, "{} is {}, expected {}", name, value, expected);
  };
  need(o.temperature >= 0 && o.temperature <= 1000, "temperature", o.temperature, "0 to 1000");
  need(o.top_k >= 0, "top-k", static_cast<double>(o.top_k), "0 (off) or more");
  need(o.top_p > 0 && o.top_p <= 1, "top-p", o.top_p, "above 0, at most 1");
  need(o.min_p >= 0 && o.min_p <= 1, "min-p", o.min_p, "0 to 1");
  for (const auto& [id, bias] : o.logit_bias)
    need(std::isfinite(bias), fmt::format("the bias of token {}", id).c_str(), bias, "a finite number");
}

Sampler::Sampler(const SamplingOptions& options) : options_(options) { validate(options); }

// The larger logit, then the lower id.
bool Sampler::better(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

int32_t Sampler::draw(std::span<const float> logits, uint64_t index) {
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i)
    if (std::isfinite(logits[i])) candidates_.push_back({static_cast<int32_t>(i), logits[i], 0});
  if (candidates_.empty())
    throw Error(ErrorKind::kInvalidArgument, "no logit is finite: nothing can be sampled (an edit may have broken the model)");
  // Candidates rise in id here.
  for (const auto& [id, bias] : options_.logit_bias) {
    const auto c =
        std::lower_bound(candidates_.begin(), candidates_.end(), id, [](const Candidate& a, int32_t b) { return a.id < b; });
    if (c != candidates_.end() && c->id == id) c->logit += bias;
  }
  if (options_.temperature == 0) return std::min_element(candidates_.begin(), candidates_.end(), better)->id;

  truncate();
  const double u = Philox(options_.seed, "sample").uniform(index, options_.stream);
  const double best =
      std::max_element(candidates_.begin(), candidates_.end(), [](auto& a, auto& b) { return a.logit < b.logit; })->logit;
  double total = 0;
  for (Candidate& c : candidates_) total += c.p = std::exp((c.logit - best) / options_.temperature);
  double left = u * total;
  for (const Candidate& c : candidates_) {
    left -= c.p;
    if (left < 0) return c.id;
  }
  return candidates_.back().id;
}

// Keeps the candidates that top-k, top-p and min-p allow; sorted, best first, where any of them acts.
void Sampler::truncate() {
  const bool acts = (options_.top_k > 0 && options_.top_k < std::ssize(candidates_)) || options_.top_p < 1 || options_.min_p > 0;
  if (!acts) return;
  if (options_.top_k > 0 && options_.top_k < std::ssize(candidates_)) {
    std::nth_element(candidates_.begin(), candidates_.begin() + options_.top_k, candidates_.end(), better);
    candidates_.resize(static_cast<size_t>(options_.top_k));
  }
  std::sort(candidates_.begin(), candidates_.end(), better);
  const double best = candidates_[0].logit;
  double total = 0;
  for (Candidate& c : candidates_) total += c.p = std::exp(c.logit - best);
  if (options_.top_p < 1) {
    double sum = 0;
    size_t n = 0;
    while (n < candidates_.size() && sum < options_.top_p * total) sum += candidates_[n++].p;
    candidates_.resize(std::max<size_t>(1, n));
  }
  if (options_.min_p > 0) std::erase_if(candidates_, [&](const Candidate& c) { return c.p < options_.min_p; });
}

std::vector<std::pair<int32_t, float>> top_logits(std::span<const float> logits, int64_t k) {
  std::vector<std::pair<int32_t, float>> all;
  all.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i)
    if (!std::isnan(logits[i])) all.push_back({static_cast<int32_t>(i), logits[i]});
  const size_t n = std::min(all.size(), static_cast<size_t>(std::max<int64_t>(0, k)));
  std::partial_sort(all.begin(), all.begin() + static_cast<int64_t>(n), all.end(),
                    [](const auto& a, const auto& b) { return a.second != b.second ? a.second > b.second : a.first < b.first; });
  all.resize(n);
  return all;
}

}  // namespace microtome
