#include "microtome/circuits/neurons/refine.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "microtome/base/error.h"

namespace microtome {
namespace {

// In how many prompts each neuron passes the threshold, [L M].
std::vector<int> votes_of(std::span<const PromptAttribution> prompts, double threshold) {
  std::vector<int> votes(prompts[0].scores.numel(), 0);
  for (const PromptAttribution& p : prompts) {
    const float* x = p.scores.f32();
    const float top = *std::max_element(x, x + p.scores.numel());
    if (!(top > 0)) continue;
    const auto bar = static_cast<float>(threshold * top);
    for (int64_t i = 0; i < p.scores.numel(); ++i) votes[i] += x[i] >= bar;
  }
  return votes;
}

int votes_needed(double share, int64_t prompts, const RefineOptions& o) {
  const int least = std::min<int>(o.least_prompts, static_cast<int>(prompts));
  return std::max(least, static_cast<int>(std::ceil(share * static_cast<double>(prompts) - 1e-9)));
}

FoundNeuron describe(std::span<const PromptAttribution> prompts, int64_t at, int votes) {
  const int64_t m = prompts[0].scores.size(1);
  FoundNeuron f{.neuron = {static_cast<int>(at / m), static_cast<int>(at % m)}, .prompts = votes};
  for (const PromptAttribution& p : prompts) {
    f.score += p.scores.f32()[at] / static_cast<double>(prompts.size());
    f.activation += p.activation.f32()[at] / static_cast<double>(prompts.size());
  }
  return f;
}

std::vector<FoundNeuron> most_active(std::span<const PromptAttribution> prompts, size_t n) {
  std::vector<double> size(prompts[0].activation.numel(), 0.0);
  for (const PromptAttribution& p : prompts)
    for (size_t i = 0; i < size.size(); ++i) size[i] += std::abs(p.activation.f32()[i]);
  std::vector<int64_t> order(size.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int64_t>(i);
  n = std::min(n, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(n), order.end(),
                    [&](int64_t a, int64_t b) { return size[a] != size[b] ? size[a] > size[b] : a < b; });
  std::vector<FoundNeuron> out;
  for (size_t i = 0; i < n; ++i) out.push_back(describe(prompts, order[i], 0));
  return out;
}

}  // namespace

RefinedNeurons refine_neurons(std::span<const PromptAttribution> prompts, const RefineOptions& o) {
  RefinedNeurons out;
  if (prompts.empty()) return out;
  const std::vector<int> votes = votes_of(prompts, o.threshold);
  const auto passing = [&](double share) {
    const int needed = votes_needed(share, std::ssize(prompts), o);
    return static_cast<int>(std::count_if(votes.begin(), votes.end(), [&](int v) { return v >= needed; }));
  };
  // Too many: a higher share; too few: a lower one. Where a step leads past the range, the side with neurons is taken.
  double share = o.share;
  const int direction = passing(share) > o.most ? 1 : passing(share) < o.least ? -1 : 0;
  for (int i = 0; i < o.shifts && direction != 0; ++i) {
    const double next = share + direction * o.shift;
    if (next > 1 + 1e-9 || next <= 0 || (direction > 0 && passing(next) == 0)) break;
    share = next;
    if (direction > 0 ? passing(share) <= o.most : passing(share) >= o.least) break;
  }
  out.share = std::min(share, 1.0);
  const int needed = votes_needed(share, std::ssize(prompts), o);
  for (size_t i = 0; i < votes.size(); ++i)
    if (votes[i] >= needed) out.neurons.push_back(describe(prompts, static_cast<int64_t>(i), votes[i]));
  std::stable_sort(out.neurons.begin(), out.neurons.end(),
                   [](const FoundNeuron& a, const FoundNeuron& b) { return a.score > b.score; });
  out.most_active = most_active(prompts, out.neurons.size());
  return out;
}

FilteredNeurons filter_hubs(std::span<const Fact> facts, std::span<const std::vector<FoundNeuron>> found, double most_share) {
  MT_CHECK_EQ(facts.size(), found.size());
  std::map<NeuronRef, std::vector<size_t>> holders;
  for (size_t f = 0; f < found.size(); ++f)
    for (const FoundNeuron& n : found[f]) holders[n.neuron].push_back(f);

  FilteredNeurons out{.facts = std::vector<std::vector<FoundNeuron>>(facts.size()), .hubs = {}};
  std::map<NeuronRef, HubNeuron> hubs;
  for (size_t f = 0; f < facts.size(); ++f) {
    int unrelated = 0, same = 0;  // facts that count against this one's neurons
    for (const Fact& other : facts)
      if (other.answer != facts[f].answer) ++(other.relation == facts[f].relation ? same : unrelated);
    for (const FoundNeuron& n : found[f]) {
      int in_unrelated = 0, in_same = 0;
      for (const size_t h : holders[n.neuron])
        if (facts[h].answer != facts[f].answer) ++(facts[h].relation == facts[f].relation ? in_same : in_unrelated);
      const double share = unrelated ? static_cast<double>(in_unrelated) / unrelated : 0;
      const double share_same = same ? static_cast<double>(in_same) / same : 0;
      if (share <= most_share && share_same <= most_share) {
        out.facts[f].push_back(n);
        continue;
      }
      HubNeuron& hub = hubs[n.neuron];
      hub.neuron = n.neuron;
      hub.facts = static_cast<int>(holders[n.neuron].size());
      hub.unrelated = std::max(hub.unrelated, share);
      hub.same_relation = std::max(hub.same_relation, share_same);
    }
  }
  for (const auto& [neuron, hub] : hubs) out.hubs.push_back(hub);
  std::stable_sort(out.hubs.begin(), out.hubs.end(), [](const HubNeuron& a, const HubNeuron& b) { return a.facts > b.facts; });
  return out;
}

}  // namespace microtome
