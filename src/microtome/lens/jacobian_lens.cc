#include "microtome/lens/jacobian_lens.h"

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

// Copies of the sequence in a batch: as many as fit, and such that no copy is idle in the last batch.
int64_t copies_at_once(int64_t d_model, int64_t positions, int64_t rows_at_once) {
  const int64_t most = std::clamp<int64_t>(rows_at_once / positions, 1, d_model);
  for (int64_t n = most; n > std::max<int64_t>(1, most / 2); --n)
    if (d_model % n == 0) return n;
  return most;
}

// What every copy starts from: the first positions in the cache, and the output of block 0 at S.
struct Start {
  KvCache cache;
  Tensor residual;  // [|S|, D]
};

Start begin(const Model& model, std::span<const int32_t> prompt, int64_t skip) {
  Start start{model.make_cache(), {}};
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  if (skip > 0) {
    Batch batch;
    batch.add_sequence(prompt.first(skip), &start.cache);
    forward(model, {.batch = batch, .plan = &plan});
  }
  KvCache first_block = start.cache.fork();
  Batch batch;
  batch.add_sequence(prompt.subspan(skip), &first_block, skip);
  plan.stop_after_layer = 0;
  start.residual = forward(model, {.batch = batch, .plan = &plan}).residual.data;
  return start;
}

// sums[i, :] += mean over the copy's rows of gradient, for the cotangent i of each copy.
void add_rows(const Tensor& gradient, int64_t positions, int64_t first, int64_t cotangents, std::vector<double>& sums) {
  const int64_t d = gradient.size(-1);
  const double scale = 1.0 / static_cast<double>(positions);
  parallel_for(cotangents, 1, [&](int64_t c0, int64_t c1) {
    std::vector<double> mean(d);
    for (int64_t c = c0; c < c1; ++c) {
      std::fill(mean.begin(), mean.end(), 0.0);
      for (int64_t t = 0; t < positions; ++t) {
        const float* row = gradient.f32() + (c * positions + t) * d;
        for (int64_t j = 0; j < d; ++j) mean[j] += row[j];
      }
      double* sum = sums.data() + (first + c) * d;
      for (int64_t j = 0; j < d; ++j) sum[j] += mean[j] * scale;
    }
  });
}

}  // namespace

JacobianSum::JacobianSum(const Config& config) : d_model_(config.d_model) {
  sums_.resize(std::max<int64_t>(0, config.n_layers - 1));
  for (auto& s : sums_) s.assign(d_model_ * d_model_, 0.0);
}

void JacobianSum::add(const Model& model, std::span<const int32_t> prompt, const JacobianOptions& options, Progress* progress) {
  const int64_t positions = std::ssize(prompt) - 1 - options.skip;
  if (positions < 1)
    throw Error(ErrorKind::kInvalidArgument, "jacobian lens: a prompt has {} tokens, expected at least {} ({} are left out)",
                prompt.size(), options.skip + 2, options.skip + 1);
  if (sums_.empty()) {
    if (progress) progress->step(1);
    ++prompts_;
    return;
  }
  const int64_t copies = copies_at_once(d_model_, positions, options.rows_at_once);
  const std::span<const int32_t> used = prompt.first(prompt.size() - 1);
  const Start start = begin(model, used, options.skip);

  Batch batch;
  std::vector<KvCache> caches(copies, start.cache);
  Tensor residual = Tensor::empty({copies * positions, d_model_}, model.arena());
  for (int64_t c = 0; c < copies; ++c) {
    batch.add_sequence(used.subspan(options.skip), &caches[c], options.skip);
    std::copy_n(std::as_const(start.residual).f32(), positions * d_model_, residual.f32() + c * positions * d_model_);
  }

  // Of this prompt alone: an interrupted one leaves no trace.
  std::vector<std::vector<double>> part(sums_.size(), std::vector<double>(d_model_ * d_model_, 0.0));
  int64_t first = 0, cotangents = 0;  // of the backward that runs
  const auto keep = [&](int64_t layer, const Tensor& g) { add_rows(g, positions, first, cotangents, part[layer]); };
  Tape tape(model.context());
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  for (int l = 1; l < layers(); ++l)
    plan.gradient({SiteKind::kResidPost, l}, [&keep, l](const SiteValue& v) { keep(l, v.data); });
  const Value leaf = tape.tap(tape.leaf(residual), [&keep](const Tensor& g) { keep(0, g); });
  const Forward out = forward(model, {.batch = batch,
                                      .plan = &plan,
                                      .tape = &tape,
                                      .first_layer = 1,
                                      .residual = leaf,
                                      .progress = progress,
                                      .backward = options.bf16 ? Compute::kBF16 : Compute::kF32});

  const int64_t outputs = options.outputs < 0 ? d_model_ : std::min(d_model_, options.outputs);
  for (; first < outputs; first += copies) {
    if (progress) progress->check();
    cotangents = std::min(copies, outputs - first);
    Tensor seed = Tensor::zeros({batch.rows(), d_model_}, model.arena());
    for (int64_t c = 0; c < cotangents; ++c)
      for (int64_t t = 0; t < positions; ++t) seed.f32()[(c * positions + t) * d_model_ + first + c] = 1;
    tape.backward_again(out.residual, seed);
    if (progress) progress->step(static_cast<double>(cotangents) / static_cast<double>(outputs));
  }
  for (size_t l = 0; l < sums_.size(); ++l)
    for (size_t i = 0; i < sums_[l].size(); ++i) sums_[l][i] += part[l][i];
  ++prompts_;
}

void JacobianSum::merge(const JacobianSum& other) {
  MT_CHECK_EQ(d_model_, other.d_model_);
  MT_CHECK_EQ(layers(), other.layers());
  for (int64_t l = 0; l < layers(); ++l)
    for (size_t i = 0; i < sums_[l].size(); ++i) sums_[l][i] += other.sums_[l][i];
  prompts_ += other.prompts_;
}

FittedLens JacobianSum::lens() const {
  FittedLens lens;
  lens.kind = LensKind::kJacobian;
  lens.d_model = d_model_;
  lens.n_prompts = prompts_;
  for (const auto& s : sums_) {
    Tensor delta = Tensor::empty({d_model_, d_model_});
    for (int64_t i = 0; i < delta.numel(); ++i) {
      const double identity = i % (d_model_ + 1) == 0 ? 1 : 0;
      delta.f32()[i] = static_cast<float>(s[i] / static_cast<double>(std::max<int64_t>(1, prompts_)) - identity);
    }
    lens.layers.push_back({std::move(delta), {}});
  }
  return lens;
}

}  // namespace microtome
