#include "microtome/circuits/algebra/head_weights.h"

#include <algorithm>
#include <map>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome::algebra {
namespace {

std::vector<float> plain(const Matrix& m) {
  std::vector<float> out(static_cast<size_t>(m.view.k * m.view.n));
  unpack(m.view, 0, m.view.n, m.view.n, 1, out.data());
  return out;
}

std::vector<float> plain(const Vector& v, int64_t n) {
  if (!v.present()) return std::vector<float>(n, 0.0f);
  return {v.data.f32(), v.data.f32() + n};
}

// Columns of W [K, N] without their mean over K.
void centre_columns(std::vector<float>& w, int64_t k, int64_t n) {
  std::vector<double> mean(n, 0.0);
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j) mean[j] += w[i * n + j];
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < n; ++j) w[i * n + j] = static_cast<float>(w[i * n + j] - mean[j] / static_cast<double>(k));
}

// A matrix that reads the stream through a norm: diag(γ) W, b + β W.
struct Reading {
  std::vector<float> w, b;  // [D, N], [N]
  int64_t n = 0;
};

Reading fold(const Matrix& matrix, const Vector& bias, const NormWeights& norm, bool centre) {
  Reading r{plain(matrix), plain(bias, matrix.view.n), matrix.view.n};
  const int64_t d = matrix.view.k, n = r.n;
  if (norm.beta.present()) {
    std::vector<double> sum(r.b.begin(), r.b.end());
    for (int64_t i = 0; i < d; ++i)
      for (int64_t j = 0; j < n; ++j) sum[j] += static_cast<double>(norm.beta.data.f32()[i]) * r.w[i * n + j];
    for (int64_t j = 0; j < n; ++j) r.b[j] = static_cast<float>(sum[j]);
  }
  if (norm.gamma.present())
    for (int64_t i = 0; i < d; ++i)
      for (int64_t j = 0; j < n; ++j) r.w[i * n + j] *= norm.gamma.data.f32()[i];
  if (centre) centre_columns(r.w, d, n);
  return r;
}

// Columns [begin, begin + k) of each of the d rows.
std::vector<float> columns(const Reading& r, int64_t d, int64_t begin, int64_t k) {
  std::vector<float> out(static_cast<size_t>(d * k));
  for (int64_t i = 0; i < d; ++i) std::copy_n(r.w.data() + i * r.n + begin, k, out.data() + i * k);
  return out;
}

struct LayerParts {
  Reading q, k, v;
  std::vector<float> w_o;
};

LayerParts read_layer(const Model& model, int layer) {
  const Config& c = model.config();
  const LayerWeights& w = model.weights().layers[layer];
  const bool centre = centred_view(c);
  LayerParts parts{fold(w.w_q, w.b_q, w.ln1, centre), fold(w.w_k, w.b_k, w.ln1, centre), fold(w.w_v, w.b_v, w.ln1, centre),
                   plain(w.w_o)};
  if (centre) centre_rows(parts.w_o.data(), w.w_o.view.k, c.d_model);
  return parts;
}

void turn(const Model& model, int64_t offset, HeadWeights& h) {
  const Config& c = model.config();
  const auto table = model.rope_table(offset);
  const std::vector<int32_t> positions(h.d + 1, static_cast<int32_t>(offset));
  const auto rotate = [&](std::vector<float>& rows) {
    rope({.rows = static_cast<int64_t>(rows.size()) / h.k, .heads = 1, .d = h.k, .rotary = c.rotary, .adjacent = c.rope_adjacent},
         rows.data(), positions.data(), table->cos.f32(), table->sin.f32(), rows.data());
  };
  rotate(h.w_q);
  rotate(h.b_q);
}

MatrixF64 with_bias(const std::vector<float>& w, const std::vector<float>& b, int64_t d, int64_t k) {
  MatrixF64 out(d + 1, k);
  std::copy(w.begin(), w.end(), out.data.begin());
  std::copy(b.begin(), b.end(), out.data.begin() + d * k);
  return out;
}

}  // namespace

bool centred_view(const Config& c) {
  return c.final_norm && (c.norm == NormKind::kLayerNorm || c.norm == NormKind::kLayerNormPre);
}

void centre_rows(float* values, int64_t n, int64_t d) {
  for (int64_t i = 0; i < n; ++i) {
    float* row = values + i * d;
    double sum = 0;
    for (int64_t j = 0; j < d; ++j) sum += row[j];
    for (int64_t j = 0; j < d; ++j) row[j] = static_cast<float>(row[j] - sum / static_cast<double>(d));
  }
}

Factored HeadWeights::ov() const { return {MatrixF64::from(w_v.data(), d, k), MatrixF64::from(w_o.data(), k, d)}; }

Factored HeadWeights::qk() const {
  return {MatrixF64::from(w_q.data(), d, k), microtome::transposed(MatrixF64::from(w_k.data(), d, k))};
}

Factored HeadWeights::qk_with_bias() const {
  return {with_bias(w_q, b_q, d, k), microtome::transposed(with_bias(w_k, b_k, d, k))};
}

std::vector<HeadWeights> read_heads(const Model& model, std::span<const HeadId> which, int64_t offset, const Progress* progress) {
  const Config& c = model.config();
  if (offset < 0)
    throw Error(ErrorKind::kInvalidArgument, "offset {}: expected query position - key position, at least 0", offset);
  if (offset > 0 && c.positions != PositionKind::kRotary)
    throw Error(ErrorKind::kInvalidArgument, "offset {}: this model has no rotary positions, so its QK circuit has no offset",
                offset);
  std::vector<HeadId> all(which.begin(), which.end());
  if (all.empty())
    for (int l = 0; l < c.n_layers; ++l)
      for (int h = 0; h < c.n_heads; ++h) all.push_back({l, h});
  for (const HeadId& id : all)
    if (id.layer < 0 || id.layer >= c.n_layers || id.head < 0 || id.head >= c.n_heads)
      throw Error(ErrorKind::kInvalidArgument, "head {}.{}: the model has {} layers of {} heads, counted from 0", id.layer,
                  id.head, c.n_layers, c.n_heads);
  std::map<int, std::vector<size_t>> by_layer;
  for (size_t i = 0; i < all.size(); ++i) by_layer[all[i].layer].push_back(i);

  std::vector<HeadWeights> out(all.size());
  const int64_t d = c.d_model, k = c.d_head;
  for (const auto& [layer, members] : by_layer) {
    if (progress) progress->check();
    const LayerParts parts = read_layer(model, layer);
    for (const size_t i : members) {
      const int64_t h = all[i].head, kv = h * c.n_kv_heads / c.n_heads;
      HeadWeights& w = out[i];
      w = {.id = all[i], .d = d, .k = k, .scale = c.attention_scale};
      w.w_q = columns(parts.q, d, h * k, k);
      w.w_k = columns(parts.k, d, kv * k, k);
      w.w_v = columns(parts.v, d, kv * k, k);
      w.w_o.assign(parts.w_o.begin() + h * k * d, parts.w_o.begin() + (h + 1) * k * d);
      w.b_q.assign(parts.q.b.begin() + h * k, parts.q.b.begin() + (h + 1) * k);
      w.b_k.assign(parts.k.b.begin() + kv * k, parts.k.b.begin() + (kv + 1) * k);
      w.b_v.assign(parts.v.b.begin() + kv * k, parts.v.b.begin() + (kv + 1) * k);
      if (offset > 0) turn(model, offset, w);
    }
  }
  return out;
}

MlpWeights read_mlp(const Model& model, int layer) {
  const Config& c = model.config();
  if (!c.mlp) throw Error(ErrorKind::kUnsupported, "this model has attention only: there are no neurons to read");
  const LayerWeights& w = model.weights().layers.at(layer);
  const bool centre = centred_view(c);
  MlpWeights out{.d = c.d_model, .m = c.d_mlp};
  out.w_in = fold(w.w_in, w.b_in, w.ln2, centre).w;
  if (c.gated_mlp) out.w_gate = fold(w.w_gate, w.b_gate, w.ln2, centre).w;
  out.w_out = plain(w.w_out);
  if (centre) centre_rows(out.w_out.data(), c.d_mlp, c.d_model);
  return out;
}

}  // namespace microtome::algebra
