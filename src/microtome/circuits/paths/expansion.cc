#include "microtome/circuits/paths/expansion.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

using algebra::HeadId;
using algebra::HeadWeights;

// How a head's output counts, turned into how the stream before it counts: W_V (W_O g), without its mean under LayerNorm; and
// what its value bias adds.
struct ReadBack {
  std::vector<double> weight;  // [D]
  double bias = 0;
};

ReadBack read_back(const HeadWeights& h, const std::vector<double>& g, bool centred) {
  std::vector<double> inner(h.k, 0.0);
  ReadBack out{std::vector<double>(h.d, 0.0), 0};
  for (int64_t k = 0; k < h.k; ++k) {
    for (int64_t i = 0; i < h.d; ++i) inner[k] += h.w_o[k * h.d + i] * g[i];
    out.bias += h.b_v[k] * inner[k];
  }
  double mean = 0;
  for (int64_t i = 0; i < h.d; ++i) {
    for (int64_t k = 0; k < h.k; ++k) out.weight[i] += h.w_v[i * h.k + k] * inner[k];
    mean += out.weight[i] / static_cast<double>(h.d);
  }
  if (centred)
    for (double& x : out.weight) x -= mean;
  return out;
}

double dot(const float* x, const std::vector<double>& w) {
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) sum += x[i] * w[i];
  return sum;
}

class Expansion {
 public:
  Expansion(const Model& model, const FrozenRun& run, int64_t position) : model_(model), run_(run), p_(position) {}

  void terms(const StreamDirection& g, Progress* progress, std::vector<PathTerm>& out) {
    std::vector<double> here(run_.length, 0.0);  // how much of each position's stream counts
    here[p_] = 1;
    sources(g.weight, here, run_.n_layers(), {}, out);
    if (progress) progress->begin("paths", static_cast<double>(run_.heads.size()));
    for (int64_t l2 = 0; l2 < run_.n_layers(); ++l2)
      for (int64_t h2 = 0; h2 < run_.n_heads(); ++h2) {
        const ReadBack second = read_back(run_.head(l2, h2), g.weight, run_.centred);
        const std::vector<double> at2 = attended(l2, h2, here);
        const HeadId id2 = run_.head(l2, h2).id;
        through(second, at2, here, l2, {id2}, out);
        for (int64_t l1 = 0; l1 < l2; ++l1)
          for (int64_t h1 = 0; h1 < run_.n_heads(); ++h1)
            through(read_back(run_.head(l1, h1), second.weight, run_.centred), attended(l1, h1, at2), at2, l1,
                    {run_.head(l1, h1).id, id2}, out);
        if (progress) progress->step();
      }
    if (progress) progress->end();
  }

 private:
  // sum over queries of weight[query] A[query, key] / scale[key].
  std::vector<double> attended(int64_t layer, int64_t head, const std::vector<double>& weight) const {
    const int64_t n = run_.length;
    const float* a = run_.pattern[layer].f32() + head * n * n;
    std::vector<double> out(n, 0.0);
    for (int64_t q = 0; q < n; ++q)
      if (weight[q] != 0)
        for (int64_t k = 0; k <= q; ++k) out[k] += weight[q] * a[q * n + k];
    for (int64_t k = 0; k < n; ++k) out[k] /= run_.scale[layer][k];
    return out;
  }

  // Paths that begin before `layer`, then pass the heads: the stream at position k counts at[k] times `weight`.
  void sources(const std::vector<double>& weight, const std::vector<double>& at, int64_t layer, const std::vector<HeadId>& heads,
               std::vector<PathTerm>& out) const {
    const auto add = [&](std::string name, const Tensor& x) {
      if (!x.defined()) return;
      double sum = 0;
      for (int64_t k = 0; k < run_.length; ++k)
        if (at[k] != 0) sum += at[k] * dot(x.f32() + k * run_.d, weight);
      out.push_back({.source = std::move(name), .heads = heads, .logit = sum});
    };
    add("token", run_.token);
    add("position", run_.position);
    const double all = std::accumulate(at.begin(), at.end(), 0.0);
    for (int64_t l = 0; l < layer; ++l)
      if (!run_.bias[l].empty())
        out.push_back({.source = fmt::format("a{}.bias", l), .heads = heads, .logit = all * dot(run_.bias[l].data(), weight)});
  }

  // `outer`: how much each position of the first head's output counts.
  void through(const ReadBack& first, const std::vector<double>& at, const std::vector<double>& outer, int64_t layer,
               const std::vector<HeadId>& heads, std::vector<PathTerm>& out) const {
    sources(first.weight, at, layer, heads, out);
    const LayerWeights& w = model_.weights().layers[layer];
    if (w.b_v.present() || w.ln1.beta.present())
      out.push_back({.source = "bias", .heads = heads, .logit = first.bias * std::accumulate(outer.begin(), outer.end(), 0.0)});
  }

  const Model& model_;
  const FrozenRun& run_;
  int64_t p_;
};

// One head's contribution to the stream: to[T, D] += A (x / scale) W_V W_O.
void pass_head(const FrozenRun& run, int64_t layer, int64_t head, const std::vector<double>& x, std::vector<double>& to) {
  const HeadWeights& w = run.head(layer, head);
  const int64_t n = run.length, d = run.d;
  std::vector<double> v(n * w.k, 0.0), z(n * w.k, 0.0);
  for (int64_t t = 0; t < n; ++t) {
    double mean = 0;
    if (run.centred) mean = std::accumulate(x.begin() + t * d, x.begin() + (t + 1) * d, 0.0) / static_cast<double>(d);
    for (int64_t i = 0; i < d; ++i) {
      const double xi = (x[t * d + i] - mean) / run.scale[layer][t];
      for (int64_t k = 0; k < w.k; ++k) v[t * w.k + k] += xi * w.w_v[i * w.k + k];
    }
  }
  const float* a = run.pattern[layer].f32() + head * n * n;
  for (int64_t q = 0; q < n; ++q)
    for (int64_t s = 0; s <= q; ++s)
      for (int64_t k = 0; k < w.k; ++k) z[q * w.k + k] += a[q * n + s] * v[s * w.k + k];
  for (int64_t t = 0; t < n; ++t)
    for (int64_t k = 0; k < w.k; ++k)
      for (int64_t i = 0; i < d; ++i) to[t * d + i] += z[t * w.k + k] * w.w_o[k * d + i];
}

void add_bias(const FrozenRun& run, int64_t layer, std::vector<double>& direct, std::vector<double>& first) {
  const int64_t n = run.length, d = run.d;
  std::vector<double> value(d, 0.0);
  for (int64_t h = 0; h < run.n_heads(); ++h) {
    const HeadWeights& w = run.head(layer, h);
    for (int64_t k = 0; k < w.k; ++k)
      for (int64_t i = 0; i < d; ++i) value[i] += static_cast<double>(w.b_v[k]) * w.w_o[k * d + i];
  }
  for (int64_t t = 0; t < n; ++t)
    for (int64_t i = 0; i < d; ++i) {
      first[t * d + i] += value[i];
      if (!run.bias[layer].empty()) direct[t * d + i] += run.bias[layer][i];
    }
}

}  // namespace

std::string PathTerm::name() const {
  std::string out = source;
  for (const HeadId& h : heads) out += fmt::format(" -> a{}.h{}", h.layer, h.head);
  return out;
}

std::vector<std::vector<double>> stream_orders(const FrozenRun& run, Progress* progress) {
  const int64_t n = run.length * run.d, layers = run.n_layers();
  std::vector<std::vector<double>> orders(layers + 1, std::vector<double>(n, 0.0));
  for (int64_t i = 0; i < n; ++i)
    orders[0][i] = static_cast<double>(run.token.f32()[i]) + (run.position.defined() ? run.position.f32()[i] : 0.0f);
  if (progress) progress->begin("orders of paths", static_cast<double>(layers));
  for (int64_t l = 0; l < layers; ++l) {
    // The highest first: order m + 1 takes what order m was before this layer.
    for (int64_t m = l; m >= 0; --m)
      for (int64_t h = 0; h < run.n_heads(); ++h) pass_head(run, l, h, orders[m], orders[m + 1]);
    add_bias(run, l, orders[0], orders[1]);
    if (progress) progress->step();
  }
  if (progress) progress->end();
  return orders;
}

PathExpansion expand_paths(const Model& model, const FrozenRun& run, const LogitDirection& direction, int64_t position,
                           Progress* progress) {
  if (position < 0 || position >= run.length)
    throw Error(ErrorKind::kInvalidArgument, "position {} is outside of the prompt's {} tokens", position, run.length);
  const StreamDirection g = stream_direction(model, direction, run.final_scale[position]);
  PathExpansion out;
  Expansion(model, run, position).terms(g, progress, out.terms);
  std::stable_sort(out.terms.begin(), out.terms.end(), [](const auto& a, const auto& b) { return a.order() < b.order(); });
  for (const std::vector<double>& x : stream_orders(run, progress)) {
    double sum = 0;
    for (int64_t i = 0; i < run.d; ++i) sum += x[position * run.d + i] * g.weight[i];
    out.order_logits.push_back(sum);
  }
  out.order_logits[0] += g.norm_bias + g.unembed_bias;
  if (model.weights().final_norm.beta.present()) out.terms.push_back({.source = "final.bias", .heads = {}, .logit = g.norm_bias});
  if (model.weights().b_unembed.present()) out.terms.push_back({.source = "unembed.bias", .heads = {}, .logit = g.unembed_bias});
  if (run.n_layers() > 2)
    out.terms.push_back({.source = "order >= 3",
                         .heads = {},
                         .logit = std::accumulate(out.order_logits.begin() + 3, out.order_logits.end(), 0.0)});
  for (const PathTerm& t : out.terms) out.total += t.logit;
  const size_t columns = direction.versus == -1 ? 1 : 2;
  const float* logits = run.logits.data() + position * columns;
  out.logit = columns == 1 ? logits[0] : static_cast<double>(logits[0]) - logits[1];
  if (run.edited) {
    out.terms.push_back({.source = "edits", .heads = {}, .logit = out.logit - out.total});
    out.total = out.logit;
  }
  return out;
}

std::vector<double> order_losses(const Model& model, const FrozenRun& run, const std::vector<std::vector<double>>& orders) {
  const Config& c = model.config();
  const Weights& w = model.weights();
  const int64_t n = run.length, d = run.d;
  if (n < 2) throw Error(ErrorKind::kInvalidArgument, "the prompt has one token: no next token is predicted; give a longer one");
  std::vector<double> sum(n * d, 0.0), losses;
  for (const std::vector<double>& x : orders) {
    for (int64_t i = 0; i < n * d; ++i) sum[i] += x[i];
    Tensor rows = Tensor::empty({n - 1, d});
    for (int64_t t = 0; t + 1 < n; ++t) {
      double mean = 0;
      if (run.centred && c.final_norm)
        mean = std::accumulate(sum.begin() + t * d, sum.begin() + (t + 1) * d, 0.0) / static_cast<double>(d);
      for (int64_t i = 0; i < d; ++i) {
        double y = (sum[t * d + i] - mean) / run.final_scale[t];
        if (w.final_norm.gamma.present()) y *= w.final_norm.gamma.data.f32()[i];
        if (w.final_norm.beta.present()) y += w.final_norm.beta.data.f32()[i];
        rows.f32()[t * d + i] = static_cast<float>(y);
      }
    }
    const Tensor logits =
        call<Linear>(nullptr, model.context(), {w.unembed.view, model.compute()}, Value(rows), Value(), Value(w.b_unembed.data))
            .data;
    double loss = 0;
    for (int64_t t = 0; t + 1 < n; ++t) {
      const float* row = logits.f32() + t * c.vocab;
      const double top = *std::max_element(row, row + c.vocab);
      double z = 0;
      for (int64_t i = 0; i < c.vocab; ++i) z += std::exp(row[i] - top);
      loss += top + std::log(z) - row[run.ids[t + 1]];
    }
    losses.push_back(loss / static_cast<double>(n - 1));
  }
  return losses;
}

}  // namespace microtome
