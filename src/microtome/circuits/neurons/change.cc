#include "microtome/circuits/neurons/change.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/neurons/change_plan.h"
#include "microtome/circuits/neurons/predictions.h"
#include "microtome/model/loss.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

constexpr int64_t kRows = 256;  // of one batch

}  // namespace

const char* neuron_op_name(NeuronOp op) {
  static constexpr const char* kNames[] = {"suppress", "amplify", "erase", "rewrite"};
  return kNames[static_cast<size_t>(op)];
}

int NeuronChange::first_layer() const {
  int first = neurons.empty() ? 0 : neurons[0].layer;
  for (const NeuronRef& n : neurons) first = std::min(first, n.layer);
  return first;
}

Tensor value_rows(const Model& model, std::span<const NeuronRef> neurons) {
  const Config& c = model.config();
  const OpContext ctx = model.context();
  Tensor out = Tensor::empty({std::ssize(neurons), c.d_model});
  for (size_t i = 0; i < neurons.size(); ++i) {
    // A row of W_out is what it makes of a one-hot activation.
    Tensor x = Tensor::zeros({1, c.d_mlp}, ctx.arena);
    x.f32()[neurons[i].index] = 1;
    const PackedView& w = model.weights().layers[neurons[i].layer].w_out.view;
    const Value y = call<Linear>(nullptr, ctx, {w, model.compute()}, Value(x), Value(), Value());
    std::copy_n(std::as_const(y.data).f32(), c.d_model, out.f32() + static_cast<int64_t>(i) * c.d_model);
  }
  return out;
}

Tensor token_direction(const Model& model, int32_t token) {
  const int64_t d = model.config().d_model;
  Tensor e = Tensor::empty({d});
  unpack(model.weights().unembed.view, token, token + 1, 1, d, e.f32());
  const Vector& gamma = model.weights().final_norm.gamma;
  double square = 0;
  for (int64_t j = 0; j < d; ++j) {
    if (gamma.present()) e.f32()[j] *= std::as_const(gamma.data).f32()[j];
    square += static_cast<double>(e.f32()[j]) * e.f32()[j];
  }
  const double length = std::sqrt(square);
  for (int64_t j = 0; j < d && length > 0; ++j) e.f32()[j] = static_cast<float>(e.f32()[j] / length);
  return e;
}

NeuronChange rewrite_change(const Model& model, std::span<const NeuronRef> neurons, std::span<const double> activations,
                            int32_t old_token, int32_t new_token, double from, double to) {
  MT_CHECK_EQ(neurons.size(), activations.size());
  const int64_t d = model.config().d_model;
  NeuronChange change{
      .op = NeuronOp::kRewrite, .neurons = {neurons.begin(), neurons.end()}, .deltas = value_rows(model, neurons)};
  const Tensor e_old = token_direction(model, old_token), e_new = token_direction(model, new_token);
  for (size_t i = 0; i < neurons.size(); ++i) {
    float* v = change.deltas.f32() + static_cast<int64_t>(i) * d;
    double square = 0;
    for (int64_t j = 0; j < d; ++j) square += static_cast<double>(v[j]) * v[j];
    const double scale = std::sqrt(square) * (activations[i] < 0 ? -1 : 1);
    for (int64_t j = 0; j < d; ++j) v[j] = static_cast<float>(scale * (-from * e_old.f32()[j] + to * e_new.f32()[j]));
  }
  return change;
}

std::vector<NeuronRef> random_neurons(std::span<const NeuronRef> neurons, int64_t d_mlp, uint64_t seed, std::string_view purpose,
                                      int draw) {
  std::map<int, int64_t> wanted;
  for (const NeuronRef& n : neurons) ++wanted[n.layer];
  std::set<NeuronRef> taken(neurons.begin(), neurons.end());
  const Philox rng(seed, purpose);
  std::vector<NeuronRef> out;
  uint64_t lane = 0;
  for (const auto& [layer, count] : wanted) {
    const int64_t free = d_mlp - count;
    for (int64_t i = 0; i < std::min(count, free);) {
      const NeuronRef n{layer, static_cast<int>(rng.below(static_cast<uint64_t>(d_mlp), static_cast<uint64_t>(draw), lane++))};
      if (!taken.insert(n).second) continue;
      out.push_back(n);
      ++i;
    }
  }
  return out;
}

std::vector<double> mean_activations(const Model& model, std::span<const FactPrompt> prompts,
                                     std::span<const NeuronRef> neurons) {
  Batch batch;
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  std::vector<int64_t> rows;
  for (const FactPrompt& p : prompts) {
    const int64_t begin = batch.add_sequence(forced_tokens(p)).row_begin;
    for (size_t k = 0; k < p.answer.size(); ++k) rows.push_back(begin + std::ssize(p.ids) - 1 + static_cast<int64_t>(k));
  }
  std::vector<double> out(neurons.size(), 0.0);
  std::set<int> layers;
  for (const NeuronRef& n : neurons) layers.insert(n.layer);
  for (const int layer : layers)
    plan.read({SiteKind::kMlpPost, layer}, [&](const SiteValue& v) {
      for (size_t i = 0; i < neurons.size(); ++i)
        for (size_t r = 0; r < rows.size() && neurons[i].layer == v.site.layer; ++r)
          out[i] +=
              std::as_const(v.data).f32()[rows[r] * v.data.row_size() + neurons[i].index] / static_cast<double>(rows.size());
    });
  if (!layers.empty()) forward(model, {.batch = batch, .plan = &plan});
  return out;
}

// --- bench -------------------------------------------------------------------------------------------------------------------

ChangeBench::ChangeBench(const Model& model, std::vector<FactPrompt> prompts, std::span<const int> layers,
                         const Progress* progress)
    : model_(model), prompts_(std::move(prompts)), progress_(progress), unchanged_(prompts_.size()) {
  for (size_t i = 0; i < prompts_.size(); ++i) caches_.push_back(model.make_cache());
  for (const int layer : std::set<int>(layers.begin(), layers.end())) resid_pre_.push_back({layer, Tensor()});
  Batch batch;
  Plan plan;
  plan.logit_rows = LogitRows::kChosen;
  std::vector<int32_t> targets;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    const FactPrompt& p = prompts_[i];
    const int64_t begin = batch.add_sequence(forced_tokens(p), &caches_[i]).row_begin;
    begins_.push_back(begin);
    for (size_t k = 0; k < p.answer.size(); ++k) {
      plan.chosen_rows.push_back(static_cast<int32_t>(begin + std::ssize(p.ids) - 1 + static_cast<int64_t>(k)));
      targets.push_back(p.answer[k]);
    }
  }
  for (auto& [layer, kept] : resid_pre_)
    plan.read({SiteKind::kResidPre, layer}, [&kept = kept](const SiteValue& v) { kept = v.data.clone(); });
  const Tensor logits = forward(model, {.batch = batch, .plan = &plan, .progress = progress}).logits.data;
  int64_t row = 0;
  for (size_t i = 0; i < prompts_.size(); ++i) row += read_outcome(model.context(), logits, row, prompts_[i], unchanged_[i]);
}

std::vector<std::vector<FactOutcome>> ChangeBench::run(std::span<const NeuronChange* const> changes,
                                                       std::span<const int> prompts) {
  std::vector<std::vector<FactOutcome>> out(changes.size(), std::vector<FactOutcome>(prompts.size()));
  std::map<std::pair<int, bool>, std::vector<Job>> groups;
  for (size_t c = 0; c < changes.size(); ++c)
    for (size_t p = 0; p < prompts.size(); ++p) {
      if (changes[c]->neurons.empty()) out[c][p] = unchanged_.at(prompts[p]);
      else groups[{changes[c]->first_layer(), changes[c]->everywhere()}].push_back({changes[c], prompts[p], &out[c][p]});
    }
  for (auto& [key, jobs] : groups) {
    // Rows of a prompt share its cache: together, as far as a batch goes.
    std::stable_sort(jobs.begin(), jobs.end(), [](const Job& a, const Job& b) { return a.prompt < b.prompt; });
    for (size_t begin = 0; begin < jobs.size();) {
      size_t end = begin;
      for (int64_t rows = 0; end < jobs.size() && (end == begin || rows + rows_of(jobs[end], key.second) <= kRows); ++end)
        rows += rows_of(jobs[end], key.second);
      run_jobs(std::span(jobs).subspan(begin, end - begin), key.first, key.second);
      begin = end;
    }
  }
  return out;
}

int64_t ChangeBench::rows_of(const Job& job, bool everywhere) const {
  const FactPrompt& p = prompts_[job.prompt];
  return std::ssize(p.answer) + (everywhere ? std::ssize(p.ids) - 1 : 0);
}

void ChangeBench::run_jobs(std::span<const Job> jobs, int first_layer, bool everywhere) {
  const auto from = std::find_if(resid_pre_.begin(), resid_pre_.end(), [&](const auto& r) { return r.first == first_layer; });
  MT_CHECK(from != resid_pre_.end());
  Batch batch;
  Plan plan;
  plan.logit_rows = LogitRows::kChosen;
  std::vector<KvCache> caches;
  caches.reserve(jobs.size());
  std::vector<int32_t> rows;  // of resid_pre
  std::vector<const NeuronChange*> changes;
  for (const Job& job : jobs) {
    const FactPrompt& p = prompts_[job.prompt];
    const int64_t kept = everywhere ? 0 : std::ssize(p.ids) - 1, n = rows_of(job, everywhere);
    caches.push_back(everywhere ? model_.make_cache() : caches_[job.prompt].fork());
    caches.back().truncate(kept);
    const int64_t begin = batch.add_sequence(std::vector<int32_t>(n, 0), &caches.back(), kept).row_begin;
    for (int64_t r = 0; r < n; ++r) rows.push_back(static_cast<int32_t>(begins_[job.prompt] + kept + r));
    changes.insert(changes.end(), n, job.change);
    for (int64_t r = n - std::ssize(p.answer); r < n; ++r) plan.chosen_rows.push_back(static_cast<int32_t>(begin + r));
  }
  ChangePlan change_plan(plan, std::move(changes));
  const Tensor logits = forward(model_, {.batch = batch,
                                         .plan = &plan,
                                         .first_layer = first_layer,
                                         .residual = copied_rows(from->second, rows),
                                         .progress = progress_})
                            .logits.data;
  int64_t row = 0;
  for (const Job& job : jobs) row += read_outcome(model_.context(), logits, row, prompts_[job.prompt], *job.out);
}

// --- text --------------------------------------------------------------------------------------------------------------------

std::vector<double> text_losses(const Model& model, std::span<const int32_t> text, std::span<const NeuronChange* const> changes,
                                Progress* progress) {
  if (text.size() < 2) throw Error(ErrorKind::kInvalidArgument, "the text has fewer than two tokens: there is nothing to score");
  std::set<int> layers;
  for (const NeuronChange* c : changes) layers.insert(c ? c->first_layer() : 0);
  std::map<int, Tensor> resid_pre;
  Batch batch;
  batch.add_sequence(text);
  {
    Plan plan;
    plan.logit_rows = LogitRows::kNone;
    for (const int l : layers)
      plan.read({SiteKind::kResidPre, l}, [&kept = resid_pre[l]](const SiteValue& v) { kept = v.data.clone(); });
    forward(model, {.batch = batch, .plan = &plan, .progress = progress});
  }
  const std::vector<int32_t> targets = next_tokens(batch);
  std::vector<double> out;
  for (const NeuronChange* c : changes) {
    const int first = c ? c->first_layer() : 0;
    Plan plan;
    plan.logit_rows = LogitRows::kNone;
    std::vector<const NeuronChange*> by_row(c ? text.size() : 0, c);
    ChangePlan change_plan(plan, std::move(by_row));
    const Tensor stream =
        forward(model,
                {.batch = batch, .plan = &plan, .first_layer = first, .residual = resid_pre.at(first), .progress = progress})
            .residual.data;
    double sum = 0;
    for (int64_t begin = 0; begin < batch.rows(); begin += kRows) {
      const int64_t end = std::min(batch.rows(), begin + kRows);
      const Tensor logits = unembed(model, stream.slice(begin, end));
      for (const double x : row_losses(model, logits, {targets.begin() + begin, targets.begin() + end})) sum += x;
    }
    out.push_back(sum / static_cast<double>(text.size() - 1));
    if (progress) progress->step();
  }
  return out;
}

}  // namespace microtome
