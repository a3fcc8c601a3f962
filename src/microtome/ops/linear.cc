#include "microtome/ops/linear.h"

#include <algorithm>
#include <cstring>

#include "microtome/base/threads.h"

namespace microtome {
namespace {

// Widest slab of a matrix that is unpacked at a time in a backward pass (columns).
constexpr int64_t kSlab = 8192;

// Columns [begin, end) of the rows of x [rows, d], dense.
Tensor take_columns(const OpContext& ctx, const float* x, int64_t rows, int64_t d, int64_t begin, int64_t end) {
  const int64_t width = end - begin;
  Tensor y = Tensor::empty({rows, width}, ctx.arena);
  float* out = y.f32();
  parallel_for(rows, 64, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r) std::memcpy(out + r * width, x + r * d + begin, static_cast<size_t>(width) * sizeof(float));
  });
  return y;
}

void put_columns(const float* x, int64_t rows, int64_t width, float* y, int64_t d, int64_t begin) {
  parallel_for(rows, 64, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r) std::memcpy(y + r * d + begin, x + r * width, static_cast<size_t>(width) * sizeof(float));
  });
}

// Columns [begin, end) of W as a packed matrix of their own.
Tensor pack_columns(const OpContext& ctx, const PackedView& w, int64_t begin, int64_t end, PackedView& view) {
  const int64_t width = end - begin;
  Tensor plain = Tensor::empty({w.k, width}, ctx.arena);
  ctx.kernels.unpack(w, begin, end, width, 1, plain.f32());
  const PackedFormat format = w.format == PackedFormat::kBF16 ? PackedFormat::kBF16 : PackedFormat::kF32;
  Tensor packed = Tensor::empty({packed_bytes(format, w.k, width)}, ctx.arena, DType::kU8);
  std::byte* data = reinterpret_cast<std::byte*>(packed.u8());
  pack_plain(format, plain.f32(), w.k, width, width, 1, data);
  view = {format, w.k, width, data};
  return packed;
}

// c [m, n] = a [m, k] · b [k, n], plain matrices.
void multiply(const OpContext& ctx, Compute compute, const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n) {
  if (compute == Compute::kF32) return ctx.kernels.gemm_plain(a, b, c, m, k, n);
  Tensor packed = Tensor::empty({packed_bytes(PackedFormat::kBF16, k, n)}, ctx.arena, DType::kU8);
  auto* data = reinterpret_cast<std::byte*>(packed.u8());
  pack_plain(PackedFormat::kBF16, b, k, n, n, 1, data);
  ctx.kernels.gemm(a, m, {PackedFormat::kBF16, k, n, data}, c, compute);
}

// dx [rows, K] = dy [rows, N] · Wᵀ, N in slabs, added in order.
Tensor times_transposed(const OpContext& ctx, const PackedView& w, const float* dy, int64_t rows,
                        Compute compute = Compute::kF32) {
  Tensor dx = Tensor::empty({rows, w.k}, ctx.arena);
  Tensor part;
  for (int64_t begin = 0; begin < w.n; begin += kSlab) {
    const int64_t end = std::min(w.n, begin + kSlab);
    Tensor transposed = Tensor::empty({end - begin, w.k}, ctx.arena);
    ctx.kernels.unpack(w, begin, end, 1, w.k, transposed.f32());
    Tensor slab;
    const float* slab_data = dy;
    if (end - begin < w.n) {
      slab = take_columns(ctx, dy, rows, w.n, begin, end);
      slab_data = slab.f32();
    }
    if (begin == 0) {
      multiply(ctx, compute, slab_data, transposed.f32(), dx.f32(), rows, end - begin, w.k);
    } else {
      if (!part.defined()) part = Tensor::empty({rows, w.k}, ctx.arena);
      multiply(ctx, compute, slab_data, transposed.f32(), part.f32(), rows, end - begin, w.k);
      ctx.kernels.add(rows * w.k, dx.f32(), part.f32(), dx.f32());
    }
  }
  return dx;
}

// dW [K, N] = xᵀ [K, rows] · dy [rows, N].
Tensor outer(const OpContext& ctx, const float* x, const float* dy, int64_t rows, int64_t k, int64_t n) {
  Tensor xt = Tensor::empty({k, rows}, ctx.arena);
  ctx.kernels.transpose(rows, k, x, xt.f32());
  Tensor dw = Tensor::empty({k, n}, ctx.arena);
  ctx.kernels.gemm_plain(xt.f32(), dy, dw.f32(), k, rows, n);
  return dw;
}

Tensor bias_gradient(const OpContext& ctx, const Tensor& dy, int64_t n) {
  Tensor db = Tensor::zeros({n}, ctx.arena);
  ctx.kernels.column_sums(dy.numel() / n, n, dy.f32(), db.f32());
  return db;
}

}  // namespace

Tensor Linear::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  const int64_t rows = in[0].numel() / p.w.k;
  MT_CHECK_EQ(rows * p.w.k, in[0].numel());
  Tensor y = Tensor::empty({rows, p.w.n}, ctx.arena);
  if (rows == 0) return y;
  ctx.count(rows * p.w.k * p.w.n);
  ctx.kernels.gemm(in[0].f32(), rows, p.w, y.f32(), p.compute);
  if (in[2].defined()) ctx.kernels.add_bias(rows, p.w.n, y.f32(), in[2].f32(), y.f32());
  return y;
}

void Linear::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy, Gradients& d) {
  const int64_t rows = dy.numel() / p.w.n;
  if (d.wants(0)) d.of(0) = times_transposed(ctx, p.w, dy.f32(), rows, p.backward);
  if (d.wants(1)) d.of(1) = outer(ctx, in[0].f32(), dy.f32(), rows, p.w.k, p.w.n);
  if (d.wants(2)) d.of(2) = bias_gradient(ctx, dy, p.w.n);
}

Tensor InputPerHeadLinear::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  const int64_t rows = in[0].size(0), heads = in[0].size(1), width = p.w.n / heads;
  ctx.count(rows * p.w.k * p.w.n);
  Tensor y = Tensor::empty({rows, heads, width}, ctx.arena);
  Tensor part = Tensor::empty({rows, width}, ctx.arena);
  for (int64_t h = 0; h < heads; ++h) {
    const Tensor x = take_columns(ctx, in[0].f32(), rows, heads * p.w.k, h * p.w.k, (h + 1) * p.w.k);
    PackedView view;
    const Tensor packed = pack_columns(ctx, p.w, h * width, (h + 1) * width, view);
    ctx.kernels.gemm(x.f32(), rows, view, part.f32(), p.compute);
    put_columns(part.f32(), rows, width, y.f32(), heads * width, h * width);
  }
  if (in[2].defined()) ctx.kernels.add_bias(rows, p.w.n, y.f32(), in[2].f32(), y.f32());
  return y;
}

void InputPerHeadLinear::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy,
                                  Gradients& d) {
  const int64_t rows = dy.size(0), heads = dy.size(1), width = p.w.n / heads;
  if (d.wants(0)) d.of(0) = Tensor::empty({rows, heads, p.w.k}, ctx.arena);
  if (d.wants(1)) d.of(1) = Tensor::empty({p.w.k, p.w.n}, ctx.arena);
  for (int64_t h = 0; h < heads; ++h) {
    const Tensor dyh = take_columns(ctx, dy.f32(), rows, p.w.n, h * width, (h + 1) * width);
    if (d.wants(0)) {
      PackedView view;
      const Tensor packed = pack_columns(ctx, p.w, h * width, (h + 1) * width, view);
      const Tensor dx = times_transposed(ctx, view, dyh.f32(), rows);
      put_columns(dx.f32(), rows, p.w.k, d.of(0).f32(), heads * p.w.k, h * p.w.k);
    }
    if (d.wants(1)) {
      const Tensor x = take_columns(ctx, in[0].f32(), rows, heads * p.w.k, h * p.w.k, (h + 1) * p.w.k);
      const Tensor dw = outer(ctx, x.f32(), dyh.f32(), rows, p.w.k, width);
      put_columns(dw.f32(), p.w.k, width, d.of(1).f32(), p.w.n, h * width);
    }
  }
  if (d.wants(2)) d.of(2) = bias_gradient(ctx, dy, p.w.n);
}

Tensor OutputPerHeadLinear::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  const int64_t rows = in[0].size(0), heads = in[0].size(1), width = p.w.k / heads;
  Tensor plain = Tensor::empty({p.w.k, p.w.n}, ctx.arena);
  ctx.kernels.unpack(p.w, 0, p.w.n, p.w.n, 1, plain.f32());
  ctx.count(rows * p.w.k * p.w.n);
  Tensor y = Tensor::empty({rows, heads, p.w.n}, ctx.arena);
  Tensor part = Tensor::empty({rows, p.w.n}, ctx.arena);
  for (int64_t h = 0; h < heads; ++h) {
    const Tensor z = take_columns(ctx, in[0].f32(), rows, heads * width, h * width, (h + 1) * width);
    ctx.kernels.gemm_plain(z.f32(), plain.f32() + h * width * p.w.n, part.f32(), rows, width, p.w.n);
    put_columns(part.f32(), rows, p.w.n, y.f32(), heads * p.w.n, h * p.w.n);
  }
  return y;
}

void OutputPerHeadLinear::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy,
                                   Gradients& d) {
  const int64_t rows = dy.size(0), heads = dy.size(1), width = p.w.k / heads, n = p.w.n;
  Tensor transposed = Tensor::empty({n, p.w.k}, ctx.arena);
  ctx.kernels.unpack(p.w, 0, n, 1, p.w.k, transposed.f32());
  if (d.wants(0)) d.of(0) = Tensor::empty({rows, heads, width}, ctx.arena);
  if (d.wants(1)) d.of(1) = Tensor::empty({p.w.k, n}, ctx.arena);
  Tensor part = Tensor::empty({rows, width}, ctx.arena);
  for (int64_t h = 0; h < heads; ++h) {
    const Tensor dyh = take_columns(ctx, dy.f32(), rows, heads * n, h * n, (h + 1) * n);
    if (d.wants(0)) {
      const Tensor wt = take_columns(ctx, transposed.f32(), n, p.w.k, h * width, (h + 1) * width);
      ctx.kernels.gemm_plain(dyh.f32(), wt.f32(), part.f32(), rows, n, width);
      put_columns(part.f32(), rows, width, d.of(0).f32(), heads * width, h * width);
    }
    if (d.wants(1)) {
      const Tensor z = take_columns(ctx, in[0].f32(), rows, heads * width, h * width, (h + 1) * width);
      const Tensor dw = outer(ctx, z.f32(), dyh.f32(), rows, width, n);
      std::memcpy(d.of(1).f32() + h * width * n, dw.f32(), static_cast<size_t>(width * n) * sizeof(float));
    }
  }
}

namespace {

// The chosen columns of W as a packed matrix of their own.
Tensor pack_chosen(const OpContext& ctx, const PackedView& w, const std::vector<int32_t>& columns, PackedView& view) {
  const int64_t n = std::ssize(columns);
  Tensor plain = Tensor::empty({n, w.k}, ctx.arena);
  for (int64_t i = 0; i < n; ++i) ctx.kernels.unpack(w, columns[i], columns[i] + 1, 1, w.k, plain.f32() + i * w.k);
  const PackedFormat format = w.format == PackedFormat::kBF16 ? PackedFormat::kBF16 : PackedFormat::kF32;
  Tensor packed = Tensor::empty({packed_bytes(format, w.k, n)}, ctx.arena, DType::kU8);
  std::byte* data = reinterpret_cast<std::byte*>(packed.u8());
  pack_plain(format, plain.f32(), w.k, n, 1, w.k, data);
  view = {format, w.k, n, data};
  return packed;
}

}  // namespace

Tensor ColumnsLinear::forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved*) {
  const int64_t rows = in[0].numel() / p.w.k, n = std::ssize(p.columns);
  PackedView view;
  const Tensor packed = pack_chosen(ctx, p.w, p.columns, view);
  Tensor y = Tensor::empty({rows, n}, ctx.arena);
  if (rows == 0) return y;
  ctx.count(rows * p.w.k * n);
  ctx.kernels.gemm(in[0].f32(), rows, view, y.f32(), p.compute);
  if (in[2].defined()) {
    Tensor bias = Tensor::empty({n}, ctx.arena);
    for (int64_t i = 0; i < n; ++i) bias.f32()[i] = in[2].f32()[p.columns[i]];
    ctx.kernels.add_bias(rows, n, y.f32(), bias.f32(), y.f32());
  }
  return y;
}

void ColumnsLinear::backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved&, const Tensor& dy,
                             Gradients& d) {
  const int64_t rows = dy.size(0), n = std::ssize(p.columns);
  if (d.wants(0)) {
    PackedView view;
    const Tensor packed = pack_chosen(ctx, p.w, p.columns, view);
    d.of(0) = times_transposed(ctx, view, dy.f32(), rows);
  }
  if (d.wants(1)) {
    const Tensor part = outer(ctx, in[0].f32(), dy.f32(), rows, p.w.k, n);
    d.of(1) = Tensor::zeros({p.w.k, p.w.n}, ctx.arena);
    for (int64_t k = 0; k < p.w.k; ++k)
      for (int64_t i = 0; i < n; ++i) d.of(1).f32()[k * p.w.n + p.columns[i]] += part.f32()[k * n + i];
  }
  if (d.wants(2)) {
    const Tensor part = bias_gradient(ctx, dy, n);
    d.of(2) = Tensor::zeros({p.w.n}, ctx.arena);
    for (int64_t i = 0; i < n; ++i) d.of(2).f32()[p.columns[i]] += part.f32()[i];
  }
}

Tensor Embedding::forward(const OpContext& ctx, const Params& p, const Inputs&, Saved*) {
  const int64_t rows = static_cast<int64_t>(p.tokens.size());
  Tensor y = Tensor::empty({rows, p.w.k}, ctx.arena);
  float* out = y.f32();
  parallel_for(rows, 16, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r) ctx.kernels.unpack(p.w, p.tokens[r], p.tokens[r] + 1, 1, p.w.k, out + r * p.w.k);
  });
  return y;
}

void Embedding::backward(const OpContext& ctx, const Params& p, const Inputs&, const Saved&, const Tensor& dy, Gradients& d) {
  if (!d.wants(0)) return;
  d.of(0) = Tensor::zeros({p.w.k, p.w.n}, ctx.arena);
  float* dw = d.of(0).f32();
  const float* g = dy.f32();
  for (size_t r = 0; r < p.tokens.size(); ++r)
    for (int64_t k = 0; k < p.w.k; ++k) dw[k * p.w.n + p.tokens[r]] += g[r * p.w.k + k];
}

}  // namespace microtome
