#include "microtome/circuits/graph/gradient_pass.h"

#include <cstring>

#include "microtome/base/threads.h"
#include "microtome/ops/rows.h"

namespace microtome {

int64_t GradientPass::bytes_per_row(const Config& c) {
  const int64_t layer =
      8 * c.d_model + 3 * (c.n_heads + 2 * c.n_kv_heads) * c.d_head + (c.mlp ? (c.gated_mlp ? 4 : 3) : 0) * c.d_mlp;
  return c.n_layers * layer * static_cast<int64_t>(sizeof(float));
}

std::vector<double> GradientPass::run(const Hooks& hooks) {
  const Config& c = model_.config();
  const int64_t d = c.d_model;
  Batch batch;
  std::vector<std::unique_ptr<KvCache>> caches;
  MetricRows wanted(metric_);
  for (const Run& r : runs_) {
    const GroupExample& g = group_.examples[r.example];
    row_begin_.push_back(batch.rows());
    wanted.add(*g.example, g.start, batch.rows());
    KvCache* cache = nullptr;
    if (g.prefix) cache = caches.emplace_back(std::make_unique<KvCache>(g.prefix->fork())).get();
    batch.add_sequence(std::span(g.example->clean).subspan(g.start), cache, g.start);
  }
  rows_ = batch.rows();
  const auto stacked = [&](const Tensor Run::*part) {
    Tensor x = Tensor::empty({rows_, d}, model_.arena());
    for (size_t i = 0; i < runs_.size(); ++i)
      std::memcpy(x.f32() + row_begin_[i] * d, (runs_[i].*part).f32(),
                  static_cast<size_t>((runs_[i].*part).numel()) * sizeof(float));
    return x;
  };

  Plan plan;
  wanted.apply(plan);
  if (hooks.change_at) {
    Edit edit{.site = *hooks.change_at, .op = EditOp::kCustom};
    edit.custom = [this, change = stacked(&Run::change)](SiteValue& v) {
      model_.context().kernels.add(v.data.numel(), v.data.f32(), change.f32(), v.data.f32());
    };
    plan.edit(std::move(edit));
  }
  if (hooks.values) read_sources(plan, c, *hooks.values);
  std::vector<HeadGradients> heads(c.n_layers);
  if (hooks.on_receiver && hooks.gradients) {
    const bool heads_of_first = !hooks.change_at;  // attention of the first layer lies above where values change
    const bool mlp_of_first = !hooks.change_at || hooks.change_at->kind == SiteKind::kAttnOut;
    const auto tap = [&](SiteKind kind, int l, auto fn) { plan.gradient({kind, l}, [fn](const SiteValue& v) { fn(v.data); }); };
    for (int l = hooks.first_layer; l < c.n_layers; ++l) {
      if (l > hooks.first_layer || heads_of_first) {
        plan.read({SiteKind::kResidPre, l}, [&heads, l](const SiteValue& v) { heads[l].stream = v.data; });
        // Values come last of the three on the way down, so queries, recorded first, end a layer.
        tap(SiteKind::kV, l, [&heads, l](const Tensor& g) { heads[l].v = g; });
        tap(SiteKind::kK, l, [&heads, l](const Tensor& g) { heads[l].k = g; });
        tap(SiteKind::kQ, l, [this, &heads, &hooks, l](const Tensor& g) {
          heads[l].q = g;
          head_inputs(l, heads[l], hooks);
          heads[l] = {};
          if (hooks.on_done) hooks.on_done(graph_.first_receiver(l));
        });
      }
      if (c.mlp && (l > hooks.first_layer || (mlp_of_first && !(hooks.change_at && c.parallel))))
        tap(SiteKind::kMlpIn, l, [this, &hooks, l](const Tensor& g) { hooks.on_receiver(graph_.mlp_receiver(l), g.f32()); });
    }
    tap(SiteKind::kResidPost, static_cast<int>(c.n_layers) - 1,
        [this, &hooks](const Tensor& g) { hooks.on_receiver(graph_.logits_receiver(), g.f32()); });
  }
  for (const auto& [site, sink] : hooks.at_sites) plan.gradient(site, [sink](const SiteValue& v) { sink(v.data); });

  Tape tape(model_.context());
  ForwardInput input{.batch = batch, .plan = &plan, .tape = hooks.gradients ? &tape : nullptr, .progress = hooks.progress};
  input.first_layer = hooks.first_layer;
  input.residual = stacked(&Run::input);
  const Forward out = forward(model_, input);

  std::vector<double> values;
  Tensor seed = Tensor::zeros(out.logits.data.shape(), model_.arena());
  for (size_t i = 0; i < runs_.size(); ++i) {
    const Tensor logits = wanted.take(i, out.logits.data);
    const Example& e = *group_.examples[runs_[i].example].example;
    const Tensor* clean = hooks.clean_logits ? &(*hooks.clean_logits)[runs_[i].example] : &logits;
    values.push_back(metric_.value(e, logits, clean));
    if (hooks.gradients) wanted.put(i, metric_.gradient(e, logits, clean), 1, seed);
    logits_.push_back(logits);
  }
  if (hooks.gradients) tape.backward(out.logits, seed);
  return values;
}

// Gradients at each head's own copy of the stream: d in_h = norm'(x) (dq_h W_Q,hT).
void GradientPass::head_inputs(int64_t layer, const HeadGradients& at, const Hooks& hooks) const {
  const Config& c = model_.config();
  const OpContext ctx = model_.context();
  const LayerWeights& w = model_.weights().layers[layer];
  const int64_t d = c.d_model, width = c.d_head, heads = c.n_heads, kv = c.n_kv_heads, inputs = heads + 2 * kv;
  Tensor dn = Tensor::empty({inputs, rows_, d}, ctx.arena);
  const auto through = [&](const Matrix& m, const Tensor& g, int64_t n, int64_t first) {
    Tensor transposed = Tensor::empty({m.view.n, d}, ctx.arena), part = Tensor::empty({rows_, width}, ctx.arena);
    ctx.kernels.unpack(m.view, 0, m.view.n, 1, d, transposed.f32());
    for (int64_t h = 0; h < n; ++h) {
      for (int64_t r = 0; r < rows_; ++r)
        std::memcpy(part.f32() + r * width, g.f32() + (r * n + h) * width, static_cast<size_t>(width) * sizeof(float));
      ctx.kernels.gemm_plain(part.f32(), transposed.f32() + h * width * d, dn.f32() + (first + h) * rows_ * d, rows_, width, d);
    }
  };
  through(w.w_q, at.q, heads, 0);
  through(w.w_k, at.k, kv, heads);
  through(w.w_v, at.v, kv, heads + kv);
  Tensor dx = dn;
  if (c.norm != NormKind::kNone) {
    const NormShape s{rows_, d, c.norm != NormKind::kRmsNorm, c.eps};
    Tensor scale = Tensor::empty({rows_}, ctx.arena);
    ctx.kernels.norm_scale(s, at.stream.f32(), scale.f32());
    dx = Tensor::empty(dn.shape(), ctx.arena);
    const float* gamma = w.ln1.gamma.present() ? w.ln1.gamma.data.f32() : nullptr;
    for (int64_t i = 0; i < inputs; ++i)
      ctx.kernels.norm_backward(s, at.stream.f32(), gamma, scale.f32(), dn.f32() + i * rows_ * d, dx.f32() + i * rows_ * d,
                                nullptr, nullptr);
  }
  for (int64_t i = inputs - 1; i >= 0; --i) hooks.on_receiver(graph_.first_receiver(layer) + i, dx.f32() + i * rows_ * d);
}

}  // namespace microtome
