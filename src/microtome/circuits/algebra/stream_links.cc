// Reading and writing directions over layers (directions.h).
#include <algorithm>
#include <cmath>

#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/directions.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {
namespace {

// Unit directions, [n, D]; `stage` orders them in the forward pass: 2 layer for attention, 2 layer + 1 for the MLP (2 layer too
// where both read the same stream).
struct Bundle {
  int layer = 0, stage = 0;
  std::string name;
  int64_t n = 0;
  std::vector<float> rows;
};

void normalise(Bundle& b, int64_t d) {
  for (int64_t i = 0; i < b.n; ++i) {
    double sum = 0;
    float* row = b.rows.data() + i * d;
    for (int64_t j = 0; j < d; ++j) sum += static_cast<double>(row[j]) * row[j];
    const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
    for (int64_t j = 0; j < d; ++j) row[j] = static_cast<float>(row[j] * scale);
  }
}

std::vector<float> turned(const std::vector<float>& w, int64_t d, int64_t n) {  // [D, n] -> [n, D]
  std::vector<float> out(w.size());
  for (int64_t i = 0; i < d; ++i)
    for (int64_t j = 0; j < n; ++j) out[j * d + i] = w[i * n + j];
  return out;
}

Bundle bundle(int layer, int stage, const char* name, std::vector<float> rows, int64_t d) {
  Bundle b{layer, stage, name, static_cast<int64_t>(rows.size()) / d, std::move(rows)};
  normalise(b, d);
  return b;
}

int mlp_stage(const Config& c, int layer) { return 2 * layer + (c.parallel ? 0 : 1); }

std::vector<HeadId> heads_of(const Config& c, int layer) {
  std::vector<HeadId> out;
  for (int h = 0; h < c.n_heads; ++h) out.push_back({layer, h});
  return out;
}

std::vector<Bundle> writers_of(const Model& model, int layer) {
  const Config& c = model.config();
  std::vector<Bundle> out;
  std::vector<float> rows;
  for (const HeadWeights& h : read_heads(model, heads_of(c, layer))) rows.insert(rows.end(), h.w_o.begin(), h.w_o.end());
  out.push_back(bundle(layer, 2 * layer, "w_o", std::move(rows), c.d_model));
  if (c.mlp) out.push_back(bundle(layer, mlp_stage(c, layer), "w_out", read_mlp(model, layer).w_out, c.d_model));
  return out;
}

std::vector<Bundle> readers_of(const Model& model, int layer) {
  const Config& c = model.config();
  const int64_t d = c.d_model, group = c.n_heads / c.n_kv_heads;
  std::vector<float> q, k, v;
  int64_t number = 0;
  for (const HeadWeights& h : read_heads(model, heads_of(c, layer))) {
    const auto append = [&](std::vector<float>& to, const std::vector<float>& w) {
      const std::vector<float> rows = turned(w, d, h.k);
      to.insert(to.end(), rows.begin(), rows.end());
    };
    append(q, h.w_q);
    if (number++ % group == 0) append(k, h.w_k), append(v, h.w_v);
  }
  std::vector<Bundle> out;
  out.push_back(bundle(layer, 2 * layer, "w_q", std::move(q), d));
  out.push_back(bundle(layer, 2 * layer, "w_k", std::move(k), d));
  out.push_back(bundle(layer, 2 * layer, "w_v", std::move(v), d));
  if (c.mlp) {
    const MlpWeights mlp = read_mlp(model, layer);
    out.push_back(bundle(layer, mlp_stage(c, layer), "w_in", turned(mlp.w_in, d, mlp.m), d));
    if (c.gated_mlp) out.push_back(bundle(layer, mlp_stage(c, layer), "w_gate", turned(mlp.w_gate, d, mlp.m), d));
  }
  return out;
}

StreamLink link(const Bundle& w, const Bundle& r, const PackedPlain& packed, int64_t d, const Progress* progress) {
  constexpr int64_t kRows = 256;
  struct Part {
    double squares = 0, magnitudes = 0;
    float extreme = 0;
    int64_t row = 0, column = 0;
  };
  std::vector<Part> parts(static_cast<size_t>((w.n + kRows - 1) / kRows));
  parallel_for(w.n, kRows, [&](int64_t begin, int64_t end) {
    if (progress) progress->check();
    std::vector<float> cosines(static_cast<size_t>((end - begin) * r.n));
    gemm(w.rows.data() + begin * d, end - begin, packed.view, cosines.data());
    Part p;
    for (int64_t i = 0; i < end - begin; ++i) {
      double squares = 0, magnitudes = 0;
      for (int64_t j = 0; j < r.n; ++j) {
        const float x = cosines[i * r.n + j];
        squares += static_cast<double>(x) * x;
        magnitudes += std::abs(x);
        if (std::abs(x) > std::abs(p.extreme)) p.extreme = x, p.row = begin + i, p.column = j;
      }
      p.squares += squares, p.magnitudes += magnitudes;
    }
    parts[begin / kRows] = p;
  });
  Part all;
  for (const Part& p : parts) {
    all.squares += p.squares, all.magnitudes += p.magnitudes;
    if (std::abs(p.extreme) > std::abs(all.extreme)) all.extreme = p.extreme, all.row = p.row, all.column = p.column;
  }
  const double n = static_cast<double>(w.n) * static_cast<double>(r.n);
  return {w.layer, r.layer, w.name, r.name, std::sqrt(all.squares / n), all.magnitudes / n, all.extreme, all.row, all.column};
}

std::vector<int> chosen(std::span<const int> layers, int64_t n) {
  std::vector<int> out(layers.begin(), layers.end());
  if (out.empty())
    for (int l = 0; l < n; ++l) out.push_back(l);
  return out;
}

}  // namespace

std::vector<StreamLink> stream_links(const Model& model, std::span<const int> from_layers, std::span<const int> to_layers,
                                     Progress* progress) {
  const Config& c = model.config();
  const std::vector<int> from = chosen(from_layers, c.n_layers), to = chosen(to_layers, c.n_layers);
  std::vector<Bundle> readers;
  for (const int l : to) {
    if (progress) progress->check();
    for (Bundle& b : readers_of(model, l)) readers.push_back(std::move(b));
  }
  std::vector<StreamLink> out;
  if (progress) progress->begin("stream links", static_cast<double>(readers.size()));
  std::vector<Bundle> writers;
  for (const int l : from) {
    if (progress) progress->check();
    for (Bundle& b : writers_of(model, l)) writers.push_back(std::move(b));
  }
  for (const Bundle& r : readers) {
    const PackedPlain packed = pack_matrix(turned(r.rows, r.n, c.d_model).data(), c.d_model, r.n);
    for (const Bundle& w : writers)
      if (w.stage < r.stage) out.push_back(link(w, r, packed, c.d_model, progress));
    if (progress) progress->step();
  }
  return out;
}

}  // namespace microtome::algebra
