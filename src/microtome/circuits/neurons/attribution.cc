#include "microtome/circuits/neurons/attribution.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/circuits/neurons/predictions.h"
#include "microtome/model/macs.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

// Where one answer token is predicted.
struct Query {
  int prompt = 0;
  int64_t position = 0;  // in the prompt's sequence
  int32_t target = 0;
  double probability = 0;
};

// What a layer's integrals start from: row q belongs to query q.
struct LayerState {
  Tensor post;    // [Q, M]
  Tensor stream;  // what the MLP's output is added to, [Q, D]
  Tensor attn;    // parallel blocks: what attention adds to it
};

class Attribution {
 public:
  Attribution(const Model& model, std::span<const FactPrompt> prompts, const NeuronAttributionOptions& options, NeuronMacs* macs)
      : model_(model), config_(model.config()), options_(options), prompts_(prompts), macs_(macs) {
    if (!config_.has_mlp())
      throw Error(ErrorKind::kInvalidArgument, "this model has no MLPs, so no knowledge neurons; take another model");
    run_hosts();
  }

  std::vector<PromptAttribution> run() {
    for (int l = 0; l < config_.n_layers; ++l) {
      if (options_.progress) options_.progress->check();
      run_layer(l);
    }
    return std::move(out_);
  }

 private:
  void run_hosts() {
    const int64_t layers = config_.n_layers, m = config_.d_mlp;
    Batch batch;
    Plan plan;
    plan.logit_rows = LogitRows::kChosen;
    for (size_t i = 0; i < prompts_.size(); ++i) caches_.push_back(model_.make_cache());
    for (size_t i = 0; i < prompts_.size(); ++i) {
      const FactPrompt& p = prompts_[i];
      const auto ids = forced_tokens(p);
      const int64_t begin = batch.add_sequence(ids, &caches_[i]).row_begin;
      for (size_t k = 0; k < p.answer.size(); ++k) {
        const auto position = static_cast<int64_t>(p.ids.size() + k - 1);
        queries_.push_back({static_cast<int>(i), position, p.answer[k]});
        plan.chosen_rows.push_back(static_cast<int32_t>(begin + position));
      }
      PromptAttribution& o = out_.emplace_back();
      o.scores = Tensor::zeros({layers, m});
      o.activation = Tensor::zeros({layers, m});
      o.gaps.resize(layers);
      o.right = true;
    }
    states_.resize(layers);
    const auto keep = [&](SiteKind kind, int l, Tensor& to) {
      plan.read({kind, l}, [&to, rows = plan.chosen_rows](const SiteValue& v) { to = copied_rows(v.data, rows); });
    };
    for (int l = 0; l < layers; ++l) {
      keep(SiteKind::kMlpPost, l, states_[l].post);
      keep(config_.parallel ? SiteKind::kResidPre : SiteKind::kResidMid, l, states_[l].stream);
      if (config_.parallel) keep(SiteKind::kAttnOut, l, states_[l].attn);
    }
    const Tensor logits = forward(model_, {.batch = batch, .plan = &plan, .progress = options_.progress}).logits.data;
    std::vector<int32_t> targets;
    for (const Query& q : queries_) targets.push_back(q.target);
    const auto predictions = predict(model_.context(), logits, targets);
    for (size_t q = 0; q < queries_.size(); ++q) {
      queries_[q].probability = predictions[q].probability;
      PromptAttribution& o = out_[queries_[q].prompt];
      o.probability += predictions[q].probability / tokens_of(queries_[q]);
      o.right = o.right && predictions[q].top == queries_[q].target;
    }
    if (macs_)
      macs_->executed +=
          batch.rows() * layers * BlockMacs(config_).total() + std::ssize(queries_) * config_.d_model * config_.vocab;
  }

  double tokens_of(const Query& q) const { return static_cast<double>(prompts_[q.prompt].answer.size()); }

  void run_layer(int l) {
    const OpContext ctx = model_.context();
    const LayerWeights& w = model_.weights().layers[l];
    const int64_t n = std::ssize(queries_), d = config_.d_model;
    LayerState& s = states_[l];
    // The stream after layer l at scale a is stream + b_out + a u, u = w W_out.
    Value stream = s.stream;
    if (config_.parallel) stream = call<Add>(nullptr, ctx, {}, stream, Value(s.attn));
    if (w.b_out.present()) add_bias(stream.data, w.b_out.data);
    Tape tape(ctx);
    const Value post = tape.leaf(s.post);
    const Value u = call<Linear>(&tape, ctx, {w.w_out.view, model_.compute()}, post, Value(), Value());

    Tensor gradient = Tensor::empty({n, d}, ctx.arena);
    std::vector<int> pending(n);
    for (int q = 0; q < n; ++q) pending[q] = q;
    for (int steps = options_.steps; !pending.empty();) {
      const Quadrature rule = quadrature(options_.rule, steps);
      std::vector<int> unfinished;
      const int64_t at_once = std::max<int64_t>(1, options_.rows / (steps + 1));
      for (int64_t begin = 0; begin < std::ssize(pending); begin += at_once) {
        const int64_t end = std::min(begin + at_once, std::ssize(pending));
        const std::span<const int> part = std::span(pending).subspan(begin, end - begin);
        integrate(l, part, rule, stream.data, u.data, steps < options_.most_steps ? &unfinished : nullptr, gradient);
      }
      pending = std::move(unfinished);
      steps = std::min(2 * steps, options_.most_steps);
    }
    tape.backward(u, gradient);
    keep_scores(l, tape.gradient(post));
    if (macs_) macs_->executed += 2 * n * d * config_.d_mlp;
    s = {};
  }

  static void add_bias(Tensor& x, const Tensor& bias) {
    const int64_t d = bias.numel();
    x = x.clone();
    for (int64_t r = 0; r < x.size(0); ++r)
      for (int64_t i = 0; i < d; ++i) x.f32()[r * d + i] += std::as_const(bias).f32()[i];
  }

  // The integrals of some queries: one row for each node, and one at 0. Where the gap is too wide and `unfinished` is given, the
  // query is put there; gradient rows [D] of dP integrated over the scale are written for all.
  void integrate(int l, std::span<const int> part, const Quadrature& rule, const Tensor& stream, const Tensor& u,
                 std::vector<int>* unfinished, Tensor& gradient) {
    const int64_t d = config_.d_model, steps = std::ssize(rule.nodes), per_query = steps + 1;
    const int64_t rows = std::ssize(part) * per_query;
    Batch batch;
    Tensor residual = Tensor::empty({rows, d}, model_.arena());
    std::vector<KvCache> caches;
    caches.reserve(part.size());
    for (size_t i = 0; i < part.size(); ++i) {
      const Query& q = queries_[part[i]];
      caches.push_back(caches_[q.prompt].fork());
      caches.back().truncate(q.position);
      add_probes(batch, caches.back(), q, per_query);
      for (int64_t k = 0; k < per_query; ++k) {
        const float a = k < steps ? static_cast<float>(rule.nodes[k]) : 0.0f;
        const float *from = std::as_const(stream).f32() + part[i] * d, *along = std::as_const(u).f32() + part[i] * d;
        float* to = residual.f32() + (static_cast<int64_t>(i) * per_query + k) * d;
        for (int64_t j = 0; j < d; ++j) to[j] = from[j] + a * along[j];
      }
    }
    Plan plan;
    plan.logit_rows = LogitRows::kAll;
    Tape tape(model_.context());
    const Value leaf = tape.leaf(residual);
    const Forward f = forward(model_, {.batch = batch, .plan = &plan, .tape = &tape, .first_layer = l + 1, .residual = leaf});
    std::vector<double> probability(rows);
    tape.backward(f.logits, seed(f.logits.data, part, rule, probability));
    const Tensor dp = tape.gradient(leaf);
    for (size_t i = 0; i < part.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) * per_query;
      add_up(std::as_const(dp).f32() + row * d, steps, gradient.f32() + part[i] * d);
      const AttributionGap gap = gap_of(part[i], steps, probability[row + steps], gradient, u);
      AttributionGap& worst = out_[queries_[part[i]].prompt].gaps[l];
      if (unfinished && !(gap.gap <= options_.tolerance)) unfinished->push_back(part[i]);
      else if (worst.steps == 0 || gap.gap > worst.gap) worst = {std::max(worst.steps, gap.steps), gap.gap};
      else worst.steps = std::max(worst.steps, gap.steps);
    }
    count(l, rows);
  }

  // Rows that all stand at the query's position: each sees what lies before it, and itself.
  void add_probes(Batch& batch, KvCache& cache, const Query& q, int64_t rows) const {
    const std::vector<int32_t> any(rows, 0);
    batch.add_sequence(any, &cache, 0, q.position + 1);
    for (int64_t k = 0; k < rows; ++k) {
      batch.positions[batch.rows() - rows + k] = static_cast<int32_t>(q.position);
      std::vector<int32_t> seen(q.position + 1);
      for (int64_t j = 0; j < q.position; ++j) seen[j] = static_cast<int32_t>(j);
      seen[q.position] = static_cast<int32_t>(q.position + k);
      batch.visible.push_back(std::move(seen));
    }
  }

  // weight_k dP_k/dlogits = weight_k P_k (onehot - p); zeros for the row at 0. Fills in the rows' probabilities.
  Tensor seed(const Tensor& logits, std::span<const int> part, const Quadrature& rule, std::vector<double>& probability) const {
    const int64_t rows = logits.size(0), vocab = logits.size(1), steps = std::ssize(rule.nodes);
    std::vector<int32_t> targets(rows);
    for (int64_t r = 0; r < rows; ++r) targets[r] = queries_[part[r / (steps + 1)]].target;
    const OpContext ctx = model_.context();
    const auto predictions = predict(ctx, logits, targets);
    std::vector<float> weights(rows);
    std::vector<double> log_sum(rows);
    for (int64_t r = 0; r < rows; ++r) {
      probability[r] = predictions[r].probability;
      log_sum[r] = predictions[r].log_sum;
      const int64_t k = r % (steps + 1);
      weights[r] = k < steps ? static_cast<float>(-rule.weights[k] * probability[r]) : 0.0f;
    }
    Tensor out = Tensor::empty({rows, vocab}, ctx.arena);
    ctx.kernels.cross_entropy_backward(rows, vocab, logits.f32(), targets.data(), weights.data(), log_sum.data(), out.f32());
    return out;
  }

  void add_up(const float* rows, int64_t n, float* out) const {
    const int64_t d = config_.d_model;
    std::vector<double> sum(d, 0.0);
    for (int64_t k = 0; k < n; ++k)
      for (int64_t j = 0; j < d; ++j) sum[j] += rows[k * d + j];
    for (int64_t j = 0; j < d; ++j) out[j] = static_cast<float>(sum[j]);
  }

  AttributionGap gap_of(int query, int64_t steps, double at_zero, const Tensor& gradient, const Tensor& u) const {
    const int64_t d = config_.d_model;
    double sum = 0;
    for (int64_t j = 0; j < d; ++j)
      sum += static_cast<double>(std::as_const(gradient).f32()[query * d + j]) * std::as_const(u).f32()[query * d + j];
    const double at_one = queries_[query].probability, difference = at_one - at_zero;
    const double scale = std::max(std::abs(difference), 0.01 * std::max({at_one, at_zero, 1e-30}));
    return {static_cast<int>(steps), std::abs(sum - difference) / scale};
  }

  void count(int l, int64_t rows) {
    const int64_t above = config_.n_layers - 1 - l;
    if (macs_) macs_->executed += rows * 2 * (above * BlockMacs(config_).total() + config_.d_model * config_.vocab);
  }

  // Attr = w * gradient, and w itself, as means over the answer's tokens.
  void keep_scores(int l, const Tensor& gradient) {
    const int64_t m = config_.d_mlp, block = BlockMacs(config_).total(), head = config_.d_model * config_.vocab;
    for (size_t q = 0; q < queries_.size(); ++q) {
      PromptAttribution& o = out_[queries_[q].prompt];
      const auto share = static_cast<float>(1.0 / tokens_of(queries_[q]));
      const float *g = std::as_const(gradient).f32() + static_cast<int64_t>(q) * m,
                  *w = std::as_const(states_[l].post).f32() + static_cast<int64_t>(q) * m;
      float *scores = o.scores.f32() + l * m, *activation = o.activation.f32() + l * m;
      for (int64_t i = 0; i < m; ++i) {
        scores[i] += share * w[i] * g[i];
        activation[i] += share * w[i];
      }
      if (macs_) macs_->plain += int64_t{o.gaps[l].steps} * 2 * ((queries_[q].position + 1) * config_.n_layers * block + head);
    }
  }

  const Model& model_;
  const Config& config_;
  const NeuronAttributionOptions& options_;
  std::span<const FactPrompt> prompts_;
  NeuronMacs* macs_;
  std::vector<KvCache> caches_;  // of each prompt's own run
  std::vector<Query> queries_;
  std::vector<LayerState> states_;
  std::vector<PromptAttribution> out_;
};

}  // namespace

std::vector<PromptAttribution> attribute_neurons(const Model& model, std::span<const FactPrompt> prompts,
                                                 const NeuronAttributionOptions& options, NeuronMacs* macs) {
  if (prompts.empty()) return {};
  return Attribution(model, prompts, options, macs).run();
}

}  // namespace microtome
