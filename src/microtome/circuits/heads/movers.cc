#include "microtome/circuits/heads/movers.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/circuits/heads/probe.h"
#include "microtome/circuits/heads/token_maps.h"
#include "microtome/kernels/gemm.h"

namespace microtome::heads {
namespace {

constexpr int kTop = 5;
enum Target { kIo, kS1, kS2, kTargets };

// What one prompt shows of every head.
struct PromptRun {
  std::vector<double> attention;  // [heads, kTargets] at END
  std::vector<double> dla;        // [heads] toward IO - S
  std::vector<float> names;       // [2, D]: the stream after block 0 at IO and S1
  bool right = false;
};

std::shared_ptr<KeyLists> lists_at(int64_t rows, int64_t query, const std::vector<int32_t>& keys) {
  auto lists = std::make_shared<KeyLists>(static_cast<int>(keys.size()));
  for (int64_t i = 0; i < rows; ++i) {
    std::vector<std::vector<int32_t>> row(keys.size());
    if (i == query)
      for (size_t k = 0; k < keys.size(); ++k) row[k] = {keys[k]};
    lists->add_row(row);
  }
  return lists;
}

// (z - b_V) W_O · direction / σ.
double direct_effect(const algebra::HeadWeights& h, const float* z, const std::vector<float>& direction, double sigma) {
  double total = 0;
  for (int64_t k = 0; k < h.k; ++k) {
    double along = 0;
    for (int64_t j = 0; j < h.d; ++j) along += static_cast<double>(h.w_o[k * h.d + j]) * direction[j];
    total += (static_cast<double>(z[k]) - h.b_v[k]) * along;
  }
  return total / sigma;
}

PromptRun run_prompt(const Model& model, const std::vector<algebra::HeadWeights>& heads, const Example& e, const Plan* edits) {
  const Config& c = model.config();
  const int64_t end = e.positions.at("END"), io = e.positions.at("IO"), s1 = e.positions.at("S1"), s2 = e.positions.at("S2");
  PromptRun out;
  out.attention.resize(heads.size() * kTargets);
  std::vector<float> z(heads.size() * c.d_head);
  double sigma = 1;
  Plan plan = edited_plan(edits);
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = {static_cast<int32_t>(end)};
  plan.attention_mass(lists_at(e.length(), end, {static_cast<int32_t>(io), static_cast<int32_t>(s1), static_cast<int32_t>(s2)}),
                      [&](int layer, std::span<const double> mass) {
                        std::copy_n(mass.data() + end * c.n_heads * kTargets, c.n_heads * kTargets,
                                    out.attention.data() + layer * c.n_heads * kTargets);
                      });
  for (int l = 0; l < c.n_layers; ++l)
    plan.read({SiteKind::kZ, l}, [&, l](const SiteValue& v) {
      std::copy_n(v.data.f32() + end * c.n_heads * c.d_head, c.n_heads * c.d_head, z.data() + l * c.n_heads * c.d_head);
    });
  plan.read({SiteKind::kResidPost, 0}, [&](const SiteValue& v) {
    for (const int64_t p : {io, s1})
      out.names.insert(out.names.end(), v.data.f32() + p * c.d_model, v.data.f32() + (p + 1) * c.d_model);
  });
  if (c.final_norm && c.norm != NormKind::kNone)
    plan.read({SiteKind::kLnFinalScale, -1}, [&](const SiteValue& v) { sigma = v.data.f32()[end]; });
  Batch batch;
  batch.add_sequence(e.clean);
  const Tensor logits = forward(model, {.batch = batch, .plan = &plan}).logits.data;
  out.right = logits.f32()[e.answers.at(0)] > logits.f32()[e.wrong.at(0)];

  std::vector<float> direction = unembed_rows(model, {e.answers.at(0), e.wrong.at(0)});
  for (int64_t j = 0; j < c.d_model; ++j) direction[j] -= direction[c.d_model + j];
  out.dla.resize(heads.size());
  parallel_for(std::ssize(heads), 8, [&](int64_t begin, int64_t stop) {
    for (int64_t i = begin; i < stop; ++i) out.dla[i] = direct_effect(heads[i], z.data() + i * c.d_head, direction, sigma);
  });
  return out;
}

// (r - mean) / σ, γ and β being folded into the head.
void normalise(const Config& c, float* r, int64_t n) {
  if (c.norm == NormKind::kNone) return;
  if (c.norm != NormKind::kRmsNorm) algebra::centre_rows(r, n, c.d_model);
  for (int64_t i = 0; i < n; ++i) {
    float* row = r + i * c.d_model;
    double sum = 0;
    for (int64_t j = 0; j < c.d_model; ++j) sum += static_cast<double>(row[j]) * row[j];
    const auto inverse = static_cast<float>(1 / std::sqrt(sum / static_cast<double>(c.d_model) + c.eps));
    for (int64_t j = 0; j < c.d_model; ++j) row[j] *= inverse;
  }
}

double share_in_top(const Model& model, const Tensor& stream, const std::vector<int32_t>& tokens) {
  const Tensor logits = unembed(model, stream);
  const int64_t v = logits.size(1);
  double hits = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const float* row = logits.f32() + static_cast<int64_t>(i) * v;
    const float own = row[tokens[i]];
    hits += std::count_if(row, row + v, [own](float x) { return x > own; }) < kTop ? 1 : 0;
  }
  return hits / static_cast<double>(tokens.size());
}

void add_copy_scores(const Model& model, const std::vector<algebra::HeadWeights>& heads, std::vector<float> names,
                     const std::vector<int32_t>& tokens, MoverScores& out, Progress* progress) {
  const int64_t n = std::ssize(tokens), d = model.config().d_model, k = model.config().d_head;
  normalise(model.config(), names.data(), n);
  if (progress) progress->begin("copy scores", static_cast<double>(heads.size()));
  for (const algebra::HeadWeights& h : heads) {
    std::vector<float> v(static_cast<size_t>(n * k));
    gemm_plain(names.data(), h.w_v.data(), v.data(), n, d, k);
    for (int64_t i = 0; i < n * k; ++i) v[i] += h.b_v[i % k];
    Tensor written = Tensor::empty({n, d}), opposite = Tensor::empty({n, d});
    gemm_plain(v.data(), h.w_o.data(), written.f32(), n, k, d);
    for (int64_t i = 0; i < n * d; ++i) opposite.f32()[i] = -written.f32()[i];
    out.copy_score.push_back(share_in_top(model, written, tokens));
    out.copy_score_negative.push_back(share_in_top(model, opposite, tokens));
    if (progress) progress->step();
  }
  if (progress) progress->end();
}

void add_unrelated(const Model& model, const std::vector<TaskExample>& prompts, MoverScores& out, const Plan* edits) {
  const int64_t heads = model.config().n_heads;
  out.s_inhibition_control.assign(out.dla.size(), 0);
  for (const TaskExample& t : prompts) {
    if (std::ssize(t.control) != t.example.length()) {
      out.s_inhibition_control.clear();
      return;
    }
    const int64_t end = t.example.positions.at("END");
    Plan plan = edited_plan(edits);
    plan.logit_rows = LogitRows::kNone;
    plan.attention_mass(
        lists_at(t.example.length(), end, {t.example.positions.at("S2")}), [&](int layer, std::span<const double> mass) {
          for (int64_t h = 0; h < heads; ++h)
            out.s_inhibition_control[layer * heads + h] += mass[end * heads + h] / static_cast<double>(prompts.size());
        });
    Batch batch;
    batch.add_sequence(t.control);
    forward(model, {.batch = batch, .plan = &plan});
  }
}

}  // namespace

MoverScores mover_scores(const Model& model, const std::vector<TaskExample>& prompts, bool copy_scores, Progress* progress,
                         const Plan* edits) {
  const auto heads = algebra::read_heads(model);
  MoverScores out;
  for (std::vector<double>* all : {&out.name_mover, &out.negative_mover, &out.s_inhibition, &out.dla, &out.attends_io,
                                   &out.name_mover_control, &out.negative_mover_control})
    all->assign(heads.size(), 0);
  std::vector<float> names;
  std::vector<int32_t> name_tokens;
  const double share = 1.0 / static_cast<double>(prompts.size());
  if (progress) progress->begin("ioi prompts", static_cast<double>(prompts.size()));
  for (const TaskExample& t : prompts) {
    const PromptRun run = run_prompt(model, heads, t.example, edits);
    out.accuracy += run.right ? share : 0;
    for (size_t i = 0; i < heads.size(); ++i) {
      const double* a = run.attention.data() + i * kTargets;
      out.dla[i] += share * run.dla[i];
      out.attends_io[i] += share * a[kIo];
      out.s_inhibition[i] += share * a[kS2];
      (run.dla[i] > 0 ? out.name_mover : out.negative_mover)[i] += share * a[kIo];
      (run.dla[i] > 0 ? out.name_mover_control : out.negative_mover_control)[i] += share * a[kS1];
    }
    names.insert(names.end(), run.names.begin(), run.names.end());
    name_tokens.insert(name_tokens.end(), {t.example.answers.at(0), t.example.wrong.at(0)});
    if (progress) progress->step();
  }
  if (progress) progress->end();
  add_unrelated(model, prompts, out, edits);
  if (copy_scores) add_copy_scores(model, heads, std::move(names), name_tokens, out, progress);
  return out;
}

}  // namespace microtome::heads
