#include "microtome/lens/lens_evaluation.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/threads.h"

namespace microtome {
namespace {

constexpr int64_t kRowChunk = 64;

// The model's own distribution at some rows.
struct FinalRows {
  Tensor logits;
  std::vector<double> lse, p;  // [rows], [rows, V]

  FinalRows(const Model& model, const Tensor& stream) : logits(unembed(model, stream)), lse(stream.size(0)) {
    const int64_t rows = stream.size(0), vocab = logits.size(1);
    model.context().kernels.log_sum_exp(rows, vocab, std::as_const(logits).f32(), lse.data());
    p.resize(rows * vocab);
    parallel_for(rows, 1, [&](int64_t r0, int64_t r1) {
      for (int64_t i = r0 * vocab; i < r1 * vocab; ++i)
        p[i] = std::exp(static_cast<double>(std::as_const(logits).f32()[i]) - lse[i / vocab]);
    });
  }

  // Sum over rows of KL(final || softmax(unembed(stream))).
  double kl(const Model& model, const Tensor& stream) const {
    const Tensor other = unembed(model, stream);
    const int64_t rows = other.size(0), vocab = other.size(1);
    std::vector<double> other_lse(rows), part(rows);
    model.context().kernels.log_sum_exp(rows, vocab, other.f32(), other_lse.data());
    parallel_for(rows, 1, [&](int64_t r0, int64_t r1) {
      for (int64_t r = r0; r < r1; ++r) {
        double sum = other_lse[r] - lse[r];
        for (int64_t i = r * vocab; i < (r + 1) * vocab; ++i)
          sum += p[i] * (static_cast<double>(logits.f32()[i]) - other.f32()[i]);
        part[r] = sum;
      }
    });
    double sum = 0;
    for (const double x : part) sum += x;
    return sum;
  }
};

}  // namespace

std::vector<Tensor> lens_streams(const Model& model, const Batch& batch, const std::vector<int32_t>& rows,
                                 const Progress* progress) {
  const int64_t n_layers = model.config().n_layers;
  std::vector<Tensor> streams(n_layers + 1);
  const OpContext ctx = model.context();
  const auto take = [&](const Tensor& x) {
    return rows.empty() ? x.clone(ctx.arena) : GatherRows::forward(ctx, {rows, x.size(0)}, {x}, nullptr);
  };
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  for (int l = 0; l < n_layers; ++l)
    plan.read({SiteKind::kResidPre, l}, [&streams, &take, l](const SiteValue& v) { streams[l] = take(v.data); });
  streams.back() = take(forward(model, {.batch = batch, .plan = &plan, .progress = progress}).residual.data);
  return streams;
}

std::vector<LayerKl> evaluate_lens(const Model& model, const FittedLens& lens, const std::vector<std::vector<int32_t>>& windows,
                                   Progress* progress) {
  const OpContext ctx = model.context();
  const int64_t shift = lens.kind == LensKind::kTuned ? 0 : 1;  // from a layer to its point
  std::vector<LayerKl> out(lens.layers.size());
  int64_t rows = 0;
  for (const auto& window : windows) {
    Batch batch;
    batch.add_sequence(window);
    const std::vector<Tensor> streams = lens_streams(model, batch, {}, progress);
    for (int64_t begin = 0; begin < batch.rows(); begin += kRowChunk) {
      if (progress) progress->check();
      const int64_t end = std::min(batch.rows(), begin + kRowChunk);
      const FinalRows final_rows(model, streams.back().slice(begin, end));
      for (int64_t l = 0; l < std::ssize(out); ++l) {
        const Tensor x = streams[l + shift].slice(begin, end);
        out[l].kl += final_rows.kl(model, lens.apply(ctx, l + shift, x));
        out[l].kl_logit_lens += final_rows.kl(model, x);
      }
    }
    rows += batch.rows();
    if (progress) progress->step(1);
  }
  for (int64_t l = 0; l < std::ssize(out); ++l) {
    out[l].layer = l;
    out[l].kl /= static_cast<double>(std::max<int64_t>(1, rows));
    out[l].kl_logit_lens /= static_cast<double>(std::max<int64_t>(1, rows));
  }
  return out;
}

}  // namespace microtome
