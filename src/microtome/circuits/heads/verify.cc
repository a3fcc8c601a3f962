#include "microtome/circuits/heads/verify.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/heads/probe.h"

namespace microtome::heads {
namespace {

constexpr int kTries = 50;  // for each draw, until one is found that is new

// Mean of z over all positions of all prompts, [L * H, K].
std::vector<Tensor> mean_z(const Model& model, const std::vector<Example>& examples, const Plan* edits) {
  const Config& c = model.config();
  std::vector<double> sum(static_cast<size_t>(c.n_layers * c.n_heads * c.d_head));
  double positions = 0;
  for (const Example& e : examples) {
    positions += static_cast<double>(e.length());
    Plan plan = edited_plan(edits);
    plan.logit_rows = LogitRows::kNone;
    for (int l = 0; l < c.n_layers; ++l)
      plan.read({SiteKind::kZ, l}, [&, l](const SiteValue& v) {
        const int64_t width = c.n_heads * c.d_head;
        for (int64_t i = 0; i < v.data.numel(); ++i) sum[l * width + i % width] += v.data.f32()[i];
      });
    Batch batch;
    batch.add_sequence(e.clean);
    forward(model, {.batch = batch, .plan = &plan});
  }
  std::vector<Tensor> out;
  for (int64_t h = 0; h < c.n_layers * c.n_heads; ++h) {
    Tensor mean = Tensor::empty({c.d_head});
    for (int64_t k = 0; k < c.d_head; ++k) mean.f32()[k] = static_cast<float>(sum[h * c.d_head + k] / positions);
    out.push_back(mean);
  }
  return out;
}

// Random heads in place of the candidates, drawn without replacement from their layers.
class Draws {
 public:
  Draws(const Config& config, const std::vector<HeadId>& candidates, uint64_t seed) : rng_(seed, "heads.verify") {
    const std::set<HeadId> taken(candidates.begin(), candidates.end());
    for (const HeadId& c : candidates) {
      std::vector<HeadId>& pool = pools_[c.layer];
      if (!pool.empty()) continue;
      for (int h = 0; h < config.n_heads; ++h)
        if (!taken.contains({c.layer, h})) pool.push_back({c.layer, h});
      any_.insert(any_.end(), pool.begin(), pool.end());
    }
  }

  // One head for each of `heads`, from its layer; `n` different sets at most. Empty if a layer has too few others.
  std::vector<std::vector<HeadId>> same_layers(const std::vector<HeadId>& heads, int64_t n) {
    return collect(n, [&] { return one_each(heads); });
  }
  // Single heads of any candidate's layer.
  std::vector<std::vector<HeadId>> singles(int64_t n) {
    return collect(n, [&]() -> std::vector<HeadId> {
      if (any_.empty()) return {};
      return {any_[rng_.below(any_.size(), drawn_++)]};
    });
  }

 private:
  template <class Draw>
  std::vector<std::vector<HeadId>> collect(int64_t n, Draw&& draw) {
    std::set<std::vector<HeadId>> seen;
    std::vector<std::vector<HeadId>> out;
    for (int64_t tries = 0; std::ssize(out) < n && tries < kTries * n; ++tries) {
      std::vector<HeadId> one = draw();
      if (one.empty()) break;
      if (seen.insert(one).second) out.push_back(std::move(one));
    }
    return out;
  }

  std::vector<HeadId> one_each(const std::vector<HeadId>& heads) {
    std::map<int, std::vector<HeadId>> left = pools_;
    std::vector<HeadId> out;
    for (const HeadId& h : heads) {
      std::vector<HeadId>& pool = left[h.layer];
      if (pool.empty()) return {};
      const size_t at = rng_.below(pool.size(), drawn_++);
      out.push_back(pool[at]);
      pool.erase(pool.begin() + static_cast<int64_t>(at));
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  Philox rng_;
  uint64_t drawn_ = 0;
  std::map<int, std::vector<HeadId>> pools_;
  std::vector<HeadId> any_;
};

// The metric's mean over the hosts for each set of heads.
std::vector<double> ablated(const Model& model, const VerifyTask& task, const std::vector<std::vector<HeadId>>& sets,
                            const VerifyOptions& o, Progress* progress, double& base) {
  std::vector<SweepHost> hosts;
  for (const Example& e : task.examples)
    hosts.push_back({.tokens = e.clean, .positions = task.metric.positions(e), .columns = task.metric.columns(e)});
  Sweep sweep(model, hosts,
              {.edits = o.edits ? o.edits->edits() : std::vector<Edit>(), .memory_gb = o.memory_gb, .progress = progress});
  const double share = 1.0 / static_cast<double>(hosts.size());
  base = 0;
  for (size_t i = 0; i < hosts.size(); ++i)
    base += share * task.metric.value(task.examples[i], sweep.host_logits(static_cast<int>(i)));

  const std::vector<Tensor> means = mean_z(model, task.examples, o.edits);
  std::vector<Intervention> list;
  for (const std::vector<HeadId>& heads : sets)
    for (size_t i = 0; i < hosts.size(); ++i) {
      Intervention one{.host = static_cast<int>(i), .edits = {}};
      for (const HeadId& h : heads)
        one.edits.push_back(set_edit({SiteKind::kZ, h.layer}, {.head = Range{h.head, h.head + 1}},
                                     means[h.layer * model.config().n_heads + h.head]));
      list.push_back(std::move(one));
    }
  std::vector<double> values(list.size());
  sweep.run(list, [&](size_t i, const Tensor& logits) {
    values[i] = task.metric.value(task.examples[i % hosts.size()], logits, nullptr);
  });
  std::vector<double> out(sets.size());
  for (size_t i = 0; i < values.size(); ++i) out[i / hosts.size()] += share * values[i];
  return out;
}

void set_control(Effect& e, const double* values, size_t n, double base) {
  e.draws = static_cast<int64_t>(n);
  for (size_t i = 0; i < n; ++i) e.control_mean += (values[i] - base) / static_cast<double>(n);
  double squares = 0;
  for (size_t i = 0; i < n; ++i) squares += (values[i] - base - e.control_mean) * (values[i] - base - e.control_mean);
  e.control_sd = n > 1 ? std::sqrt(squares / static_cast<double>(n - 1)) : 0;
}

}  // namespace

VerifyResult compare_with_draws(const Config& config, const std::vector<HeadId>& candidates, const VerifyOptions& o,
                                const ValuesOfSets& values_of) {
  Draws draws(config, candidates, o.seed);
  const auto joint = draws.same_layers(candidates, o.draws);
  const auto singles = candidates.size() > 1 ? draws.singles(o.draws) : std::vector<std::vector<HeadId>>();

  // In order: all candidates, their draws, each candidate, single draws.
  std::vector<std::vector<HeadId>> sets{candidates};
  sets.insert(sets.end(), joint.begin(), joint.end());
  if (candidates.size() > 1)
    for (const HeadId& h : candidates) sets.push_back({h});
  sets.insert(sets.end(), singles.begin(), singles.end());

  VerifyResult out;
  const std::vector<double> values = values_of(sets, out.base);
  out.joint = {.heads = candidates, .effect = values[0] - out.base};
  set_control(out.joint, values.data() + 1, joint.size(), out.base);
  if (candidates.size() == 1) return out;
  const size_t first = 1 + joint.size();
  for (size_t i = 0; i < candidates.size(); ++i) {
    Effect e{.heads = {candidates[i]}, .effect = values[first + i] - out.base};
    set_control(e, values.data() + first + candidates.size(), singles.size(), out.base);
    out.single.push_back(std::move(e));
  }
  return out;
}

VerifyResult verify(const Model& model, const VerifyTask& task, const std::vector<HeadId>& candidates, const VerifyOptions& o,
                    Progress* progress) {
  if (candidates.empty()) throw Error(ErrorKind::kInvalidArgument, "verify: no head to ablate");
  if (task.examples.empty() || task.metric.kind() == MetricKind::kKl)
    throw Error(ErrorKind::kInvalidArgument, "verify: a task with examples is needed, and a metric other than kl");
  for (const Example& e : task.examples) task.metric.check(e);
  return compare_with_draws(model.config(), candidates, o, [&](const std::vector<std::vector<HeadId>>& sets, double& base) {
    return ablated(model, task, sets, o, progress, base);
  });
}

}  // namespace microtome::heads
