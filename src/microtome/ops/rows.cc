#include "microtome/ops/rows.h"

#include <cstring>

#include "microtome/base/threads.h"

namespace microtome {
namespace {

NormShape norm_shape(const Norm::Params& p, const Tensor& x) { return {x.numel() / x.size(-1), x.size(-1), p.center, p.eps}; }

Shape with_last(Shape shape, int64_t last) {
  shape.back() = last;
  return shape;
}

const float* data_or_null(const Tensor& t) { return t.defined() ? t.f32() : nullptr; }

Tensor wanted_vector(const OpContext& ctx, const Gradients& d, int input, int64_t width) {
  return d.wants(input) ? Tensor::zeros({width}, ctx.arena) : Tensor();
}

float* mutable_or_null(Tensor& t) { return t.defined() ? t.f32() : nullptr; }

}  // namespace

Tensor Norm::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved) {
  const NormShape s = norm_shape(p, in[0]);
  Tensor y = Tensor::empty(in[0].shape(), ctx.arena);
  Tensor scale;
  if (saved) saved->push_back(scale = Tensor::empty({s.rows}, ctx.arena));
  ctx.kernels.norm(s, in[0].f32(), data_or_null(in[1]), data_or_null(in[2]), y.f32(), mutable_or_null(scale));
  return y;
}

void Norm::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy, Gradients& d) {
  const NormShape s = norm_shape(p, in[0]);
  Tensor dx = Tensor::empty(in[0].shape(), ctx.arena);
  Tensor dgamma = wanted_vector(ctx, d, 1, s.d), dbeta = wanted_vector(ctx, d, 2, s.d);
  ctx.kernels.norm_backward(s, in[0].f32(), data_or_null(in[1]), saved[0].f32(), dy.f32(), dx.f32(), mutable_or_null(dgamma),
                            mutable_or_null(dbeta));
  d.of(0) = dx;
  d.of(1) = dgamma;
  d.of(2) = dbeta;
}

Tensor NormScale::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  Tensor scale = Tensor::empty(with_last(in[0].shape(), 1), ctx.arena);
  ctx.kernels.norm_scale(norm_shape(p, in[0]), in[0].f32(), scale.f32());
  return scale;
}

void NormScale::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy, Gradients& d) {
  const NormShape s = norm_shape(p, in[0]);
  Tensor scale = Tensor::empty({s.rows}, ctx.arena);
  ctx.kernels.norm_scale(s, in[0].f32(), scale.f32());
  d.of(0) = Tensor::empty(in[0].shape(), ctx.arena);
  ctx.kernels.norm_scale_backward(s, in[0].f32(), scale.f32(), dy.f32(), d.of(0).f32());
}

Tensor NormNormalize::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  Tensor n = Tensor::empty(in[0].shape(), ctx.arena);
  ctx.kernels.norm_normalize(norm_shape(p, in[0]), in[0].f32(), in[1].f32(), n.f32());
  return n;
}

void NormNormalize::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy,
                             Gradients& d) {
  d.of(0) = Tensor::empty(in[0].shape(), ctx.arena);
  d.of(1) = Tensor::empty(in[1].shape(), ctx.arena);
  ctx.kernels.norm_normalize_backward(norm_shape(p, in[0]), in[0].f32(), in[1].f32(), dy.f32(), d.of(0).f32(), d.of(1).f32());
}

Tensor NormAffine::forward(const OpContext& ctx, const Params&, const Inputs& in, Saved*) {
  Tensor y = Tensor::empty(in[0].shape(), ctx.arena);
  const int64_t width = in[0].size(-1);
  ctx.kernels.norm_affine(in[0].numel() / width, width, in[0].f32(), data_or_null(in[1]), data_or_null(in[2]), y.f32());
  return y;
}

void NormAffine::backward(const OpContext& ctx, const Params&, const Inputs& in, const Saved&, const Tensor& dy, Gradients& d) {
  const int64_t width = dy.size(-1);
  d.of(0) = Tensor::empty(dy.shape(), ctx.arena);
  d.of(1) = wanted_vector(ctx, d, 1, width);
  d.of(2) = wanted_vector(ctx, d, 2, width);
  ctx.kernels.norm_affine_backward(dy.numel() / width, width, in[0].f32(), data_or_null(in[1]), dy.f32(), d.of(0).f32(),
                                   mutable_or_null(d.of(1)), mutable_or_null(d.of(2)));
}

namespace {

Tensor turned(const OpContext& ctx, const Rope::Params& p, const Tensor& x, bool inverse) {
  Tensor y = Tensor::empty(x.shape(), ctx.arena);
  const RopeShape s{x.size(0), x.size(1), x.size(2), p.table->rotary, p.table->adjacent, inverse};
  ctx.kernels.rope(s, x.f32(), p.positions->data(), p.table->cos.f32(), p.table->sin.f32(), y.f32());
  return y;
}

}  // namespace

Tensor Rope::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) { return turned(ctx, p, in[0], false); }

void Rope::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  d.of(0) = turned(ctx, p, dy, true);
}

Tensor Activate::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  Tensor y = Tensor::empty(in[0].shape(), ctx.arena);
  ctx.kernels.activation(p.kind, in[0].numel(), in[0].f32(), y.f32());
  return y;
}

void Activate::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy, Gradients& d) {
  d.of(0) = Tensor::empty(dy.shape(), ctx.arena);
  ctx.kernels.activation_backward(p.kind, dy.numel(), in[0].f32(), dy.f32(), d.of(0).f32());
}

Tensor GatedActivate::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  MT_CHECK_EQ(in[0].numel(), in[1].numel());
  Tensor y = Tensor::empty(in[0].shape(), ctx.arena);
  ctx.kernels.gated_activation(p.kind, in[0].numel(), in[0].f32(), in[1].f32(), y.f32());
  return y;
}

void GatedActivate::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy,
                             Gradients& d) {
  d.of(0) = Tensor::empty(dy.shape(), ctx.arena);
  d.of(1) = Tensor::empty(dy.shape(), ctx.arena);
  ctx.kernels.gated_activation_backward(p.kind, dy.numel(), in[0].f32(), in[1].f32(), dy.f32(), d.of(0).f32(), d.of(1).f32());
}

Tensor Add::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  MT_CHECK_EQ(in[0].numel(), in[1].numel());
  if (p.factor == 1) {
    Tensor y = Tensor::empty(in[0].shape(), ctx.arena);
    ctx.kernels.add(in[0].numel(), in[0].f32(), in[1].f32(), y.f32());
    return y;
  }
  Tensor y = in[0].clone(ctx.arena);
  ctx.kernels.add_scaled(in[0].numel(), p.factor, in[1].f32(), y.f32());
  return y;
}

void Add::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  d.of(0) = dy;
  if (p.factor == 1 || !d.wants(1)) {
    d.of(1) = dy;
  } else {
    d.of(1) = Tensor::empty(dy.shape(), ctx.arena);
    ctx.kernels.scale_by(dy.numel(), p.factor, dy.f32(), d.of(1).f32());
  }
}

Tensor GatherRows::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  MT_CHECK_EQ(p.rows, in[0].size(0));
  Shape shape = in[0].shape();
  shape[0] = static_cast<int64_t>(p.indices.size());
  Tensor y = Tensor::empty(shape, ctx.arena);
  const int64_t width = in[0].row_size();
  for (size_t i = 0; i < p.indices.size(); ++i)
    std::memcpy(y.f32() + i * width, in[0].f32() + p.indices[i] * width, static_cast<size_t>(width) * sizeof(float));
  return y;
}

void GatherRows::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  Shape shape = dy.shape();
  const int64_t width = numel(shape) / std::max<int64_t>(1, shape[0]);
  shape[0] = p.rows;
  d.of(0) = Tensor::zeros(shape, ctx.arena);
  for (size_t i = 0; i < p.indices.size(); ++i) {
    float* row = d.of(0).f32() + p.indices[i] * width;
    ctx.kernels.add(width, row, dy.f32() + i * width, row);
  }
}

namespace {

Tensor repeat_heads(const OpContext& ctx, const Tensor& x, int64_t heads) {
  const int64_t rows = x.size(0), d = x.size(-1);
  Tensor y = Tensor::empty({rows, heads, d}, ctx.arena);
  const float* in = x.f32();
  float* out = y.f32();
  parallel_for(rows, 16, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r)
      for (int64_t h = 0; h < heads; ++h)
        std::memcpy(out + (r * heads + h) * d, in + r * d, static_cast<size_t>(d) * sizeof(float));
  });
  return y;
}

Tensor sum_heads(const OpContext& ctx, const Tensor& x, int64_t heads) {
  const int64_t rows = x.size(0), d = x.size(-1);
  Tensor y = Tensor::empty({rows, d}, ctx.arena);
  const float* in = x.f32();
  float* out = y.f32();
  parallel_for(rows, 16, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r) {
      std::memcpy(out + r * d, in + r * heads * d, static_cast<size_t>(d) * sizeof(float));
      for (int64_t h = 1; h < heads; ++h)
        for (int64_t i = 0; i < d; ++i) out[r * d + i] += in[(r * heads + h) * d + i];
    }
  });
  return y;
}

}  // namespace

Tensor RepeatHeads::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  return repeat_heads(ctx, in[0], p.heads);
}
void RepeatHeads::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  d.of(0) = sum_heads(ctx, dy, p.heads);
}

Tensor SumHeads::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  return sum_heads(ctx, in[0], p.heads);
}
void SumHeads::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  d.of(0) = repeat_heads(ctx, dy, p.heads);
}

Tensor EveryNthHead::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  const int64_t rows = in[0].size(0), d = in[0].size(2), kept = p.heads / p.stride;
  Tensor y = Tensor::empty({rows, kept, d}, ctx.arena);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < kept; ++h)
      std::memcpy(y.f32() + (r * kept + h) * d, in[0].f32() + (r * p.heads + h * p.stride) * d,
                  static_cast<size_t>(d) * sizeof(float));
  return y;
}

void EveryNthHead::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  const int64_t rows = dy.size(0), width = dy.size(2), kept = p.heads / p.stride;
  d.of(0) = Tensor::zeros({rows, p.heads, width}, ctx.arena);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t h = 0; h < kept; ++h)
      std::memcpy(d.of(0).f32() + (r * p.heads + h * p.stride) * width, dy.f32() + (r * kept + h) * width,
                  static_cast<size_t>(width) * sizeof(float));
}

}  // namespace microtome
