#include "microtome/lens/tuned_lens.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"
#include "microtome/base/threads.h"
#include "microtome/lens/lens_evaluation.h"
#include "microtome/ops/linear.h"
#include "microtome/train/optimizer.h"

namespace microtome {

// The model's own answer at the drawn rows.
struct TunedTrainer::Target {
  Tensor p, logits;         // [rows, V]
  std::vector<double> lse;  // of the logits
};

TunedTrainer::TunedTrainer(const Model& model, TokenCursor cursor, const TunedOptions& options, Json identity)
    : model_(model), cursor_(std::move(cursor)), options_(options), identity_(std::move(identity)) {
  const int64_t d = model.config().d_model, vocab = model.config().vocab;
  for (int64_t l = 0; l < model.config().n_layers; ++l)
    translators_.push_back({Tensor::zeros({d, d}), Tensor::zeros({d}), Tensor::zeros({d, d}), Tensor::zeros({d})});
  unembed_rows_ = Tensor::empty({vocab, d});
  model.context().kernels.unpack(model.weights().unembed.view, 0, vocab, 1, d, unembed_rows_.f32());
}

// Distinct rows of the batch, rising.
std::vector<int32_t> TunedTrainer::draw_rows(int64_t number, int64_t rows) const {
  std::vector<int32_t> all(rows);
  std::iota(all.begin(), all.end(), 0);
  const int64_t n = std::min(options_.positions, rows);
  const Philox rng(options_.seed, "tuned lens positions");
  for (int64_t i = 0; i < n; ++i) std::swap(all[i], all[i + rng.below(rows - i, i, static_cast<uint64_t>(number))]);
  all.resize(n);
  std::sort(all.begin(), all.end());
  return all;
}

Json TunedTrainer::step(int64_t number, Progress* progress) {
  const int64_t window = std::ssize(cursor_.at(0));
  const int64_t sequences = (2 * options_.positions + window - 1) / window;
  cursor_.seek(number * sequences);
  Batch batch;
  for (int64_t i = 0; i < sequences; ++i) batch.add_sequence(cursor_.next());
  const std::vector<Tensor> streams = lens_streams(model_, batch, draw_rows(number, batch.rows()), progress);

  const OpContext ctx = model_.context();
  const int64_t rows = streams.back().size(0), vocab = model_.config().vocab;
  Target target{Tensor::empty({rows, vocab}, ctx.arena), unembed(model_, streams.back()), std::vector<double>(rows)};
  ctx.kernels.log_sum_exp(rows, vocab, std::as_const(target.logits).f32(), target.lse.data());
  ctx.kernels.softmax(rows, vocab, std::as_const(target.logits).f32(), target.p.f32());

  const double lr = options_.lr * linear_decay(number, options_.steps);
  Json losses = Json::array();
  double sum = 0;
  std::vector<Translator> next;  // all layers take the step, or none does
  for (size_t l = 0; l < translators_.size(); ++l) {
    if (progress) progress->check();
    const Translator& t = translators_[l];
    next.push_back({t.delta.clone(), t.bias.clone(), t.delta_momentum.clone(), t.bias_momentum.clone()});
    const double loss = step_layer(next[l], streams[l], target, lr);
    losses.push_back(loss);
    sum += loss;
  }
  translators_ = std::move(next);
  ++steps_done_;
  return {{"step", number + 1},
          {"loss", sum / static_cast<double>(std::max<size_t>(1, translators_.size()))},
          {"losses", std::move(losses)}};
}

double TunedTrainer::step_layer(Translator& t, const Tensor& x, const Target& target, double lr) const {
  const OpContext ctx = model_.context();
  const Config& c = model_.config();
  const Weights& w = model_.weights();
  const int64_t rows = x.size(0), d = c.d_model, vocab = c.vocab;
  const bool normed = c.final_norm && c.norm != NormKind::kNone;
  const Norm::Params norm{c.norm != NormKind::kRmsNorm, c.eps};

  const Inputs in{apply_map(ctx, {t.delta, t.bias}, x), w.final_norm.gamma.data, w.final_norm.beta.data};
  Saved saved;
  const Tensor n = normed ? Norm::forward(ctx, norm, in, &saved) : in[0];
  const Tensor logits = Linear::forward(ctx, {w.unembed.view, model_.compute()}, {n, {}, w.b_unembed.data}, nullptr);
  std::vector<double> lse(rows), kl(rows);
  ctx.kernels.log_sum_exp(rows, vocab, logits.f32(), lse.data());
  // dKL/dlogits = softmax - target, over the rows' number.
  Tensor g = Tensor::empty({rows, vocab}, ctx.arena);
  ctx.kernels.softmax(rows, vocab, logits.f32(), g.f32());
  const auto share = 1.0f / static_cast<float>(rows);
  parallel_for(rows, 1, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r) {
      double sum = lse[r] - target.lse[r];
      const float *p = target.p.f32() + r * vocab, *a = target.logits.f32() + r * vocab, *b = logits.f32() + r * vocab;
      float* dy = g.f32() + r * vocab;
      for (int64_t i = 0; i < vocab; ++i) {
        sum += static_cast<double>(p[i]) * (static_cast<double>(a[i]) - b[i]);
        dy[i] = (dy[i] - p[i]) * share;
      }
      kl[r] = sum;
    }
  });

  Tensor dn = Tensor::empty({rows, d}, ctx.arena);
  ctx.kernels.gemm_plain(std::as_const(g).f32(), unembed_rows_.f32(), dn.f32(), rows, vocab, d);
  Gradients wanted;
  wanted.want(0, true);
  if (normed) Norm::backward(ctx, norm, in, saved, dn, wanted);
  const Tensor dy = normed ? wanted.of(0) : dn;

  // delta [out, in] += dyT x.
  Tensor dyt = Tensor::empty({d, rows}, ctx.arena), ddelta = Tensor::empty({d, d}, ctx.arena),
         dbias = Tensor::zeros({d}, ctx.arena);
  ctx.kernels.transpose(rows, d, dy.f32(), dyt.f32());
  ctx.kernels.gemm_plain(std::as_const(dyt).f32(), x.f32(), ddelta.f32(), d, rows, d);
  ctx.kernels.column_sums(rows, d, dy.f32(), dbias.f32());

  const auto span = [](Tensor& x) { return std::span(x.f32(), static_cast<size_t>(x.numel())); };
  const double factor = clip_factor(std::sqrt(squared_norm(span(ddelta)) + squared_norm(span(dbias))), options_.clip);
  for (Tensor* x : {&ddelta, &dbias})
    for (float& v : span(*x)) v *= static_cast<float>(factor);
  const SgdOptions sgd{lr, options_.momentum, true, options_.weight_decay};
  sgd_step(sgd, span(ddelta), span(t.delta_momentum), span(t.delta));
  sgd_step(sgd, span(dbias), span(t.bias_momentum), span(t.bias));
  double sum = 0;
  for (const double x : kl) sum += x;
  return sum / static_cast<double>(rows);
}

Json TunedTrainer::options() const {
  Json out = identity_;
  out["kind"] = "tuned";
  out["steps"] = options_.steps;
  out["positions"] = options_.positions;
  out["lr"] = options_.lr;
  out["momentum"] = options_.momentum;
  out["weight_decay"] = options_.weight_decay;
  out["clip"] = options_.clip;
  return out;
}

void TunedTrainer::save(StateWriter& out) const {
  for (size_t l = 0; l < translators_.size(); ++l) {
    const Translator& t = translators_[l];
    const std::string prefix = "layers." + std::to_string(l) + ".";
    out.add(prefix + "delta", t.delta);
    out.add(prefix + "bias", t.bias);
    out.add(prefix + "delta_momentum", t.delta_momentum);
    out.add(prefix + "bias_momentum", t.bias_momentum);
  }
  out.values["steps_done"] = steps_done_;
}

void TunedTrainer::load(const StateReader& in, int64_t steps) {
  for (size_t l = 0; l < translators_.size(); ++l) {
    Translator& t = translators_[l];
    const std::string prefix = "layers." + std::to_string(l) + ".";
    in.read(prefix + "delta", t.delta);
    in.read(prefix + "bias", t.bias);
    in.read(prefix + "delta_momentum", t.delta_momentum);
    in.read(prefix + "bias_momentum", t.bias_momentum);
  }
  steps_done_ = in.count("steps_done");
  if (steps_done_ != steps || steps > options_.steps)
    in.corrupt(fmt::format("says {} and {} steps, expected the same number of at most {}", steps, steps_done_, options_.steps));
}

FittedLens TunedTrainer::lens() const {
  FittedLens lens;
  lens.kind = LensKind::kTuned;
  lens.d_model = model_.config().d_model;
  lens.n_prompts = steps_done_ * options_.positions;
  for (const Translator& t : translators_) lens.layers.push_back({t.delta.clone(), t.bias.clone()});
  return lens;
}

}  // namespace microtome
