#include "microtome/circuits/graph/circuit_pass.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "microtome/base/threads.h"

namespace microtome {
namespace {

// Of all possible edges into some receivers, the share from which a dense product is faster than adding one by one.
constexpr double kDense = 0.25;

}  // namespace

// A circuit's edges at one role into receivers v .. v + n - 1: the lists, or [n, sources] of 0 and 1, cut at the first source
// that runs here.
struct CircuitPass::Weights {
  bool dense = false;
  std::vector<float> below, here;
};

CircuitPass::CircuitPass(const Model& model, const Graph& graph, const StreamValues& ablated, std::vector<CircuitRow> rows,
                         int64_t first_layer, int64_t last_layer)
    : model_(model),
      graph_(graph),
      ablated_(ablated),
      rows_(std::move(rows)),
      d_(model.config().d_model),
      first_layer_(first_layer),
      last_layer_(last_layer),
      first_source_(first_layer == 0 ? 0 : graph.head_source(first_layer, 0)),
      sources_(graph.head_source(last_layer + 1, 0) - first_source_) {
  for (const CircuitRow& r : rows_) reference_.push_back(r.reference);
  const auto n = std::ssize(rows_);
  deviation_ = Tensor::empty({n, sources_, d_}, model.arena());
  mixed_ = Tensor::empty({n, graph.config().n_heads + 2 * graph.kv_heads(), d_}, model.arena());
}

int64_t CircuitPass::bytes_per_row(const Graph& graph, int64_t first_layer) {
  const int64_t sources = graph.n_sources() - (first_layer == 0 ? 0 : graph.head_source(first_layer, 0));
  const int64_t inputs = graph.config().n_heads + 2 * graph.kv_heads();
  // A head's input lies there as what is mixed, the stream's copy, its edit, and the steps of its norm.
  return (sources + 6 * inputs) * graph.config().d_model * static_cast<int64_t>(sizeof(float));
}

void CircuitPass::attach(Plan& plan) {
  const Config& c = graph_.config();
  const auto read = [&](SiteKind kind, int64_t l, auto fn) {
    plan.read({kind, static_cast<int>(l)}, [fn](const SiteValue& v) { fn(v.data); });
  };
  const auto edit = [&](SiteKind kind, int64_t l, auto fn) {
    Edit e{.site = {kind, static_cast<int>(l)}, .op = EditOp::kCustom};
    e.custom = [fn](SiteValue& v) { fn(v.data); };
    plan.edit(std::move(e));
  };
  if (first_layer_ == 0) read(SiteKind::kResidPre, 0, [this](const Tensor& x) { put(0, x, ablated_.input); });
  const int64_t h = c.n_heads, kv = graph_.kv_heads(), inputs = h + 2 * kv;
  const auto take = [this, inputs](Tensor& x, int64_t first, int64_t n) {
    for (int64_t r = 0; r < x.size(0); ++r)
      std::memcpy(x.f32() + r * n * d_, mixed_.f32() + (r * inputs + first) * d_, static_cast<size_t>(n * d_) * sizeof(float));
  };
  for (int64_t l = first_layer_; l <= last_layer_; ++l) {
    edit(SiteKind::kQInput, l, [this, l, h, inputs, take](Tensor& x) {
      mix(graph_.first_receiver(l), inputs, ablated_.attention_in[l], mixed_.f32());
      take(x, 0, h);
    });
    edit(SiteKind::kKInput, l, [h, kv, take](Tensor& x) { take(x, h, kv); });
    edit(SiteKind::kVInput, l, [h, kv, take](Tensor& x) { take(x, h + kv, kv); });
    read(SiteKind::kZ, l, [this, l](const Tensor& z) { put_heads(l, z); });
    if (c.mlp) {
      edit(SiteKind::kMlpIn, l, [this, l](Tensor& x) { mix(graph_.mlp_receiver(l), 1, ablated_.mlp_in[l], x.f32()); });
      read(SiteKind::kMlpOut, l, [this, l](const Tensor& y) { put(graph_.mlp_source(l), y, ablated_.mlp[l]); });
    }
  }
  if (last_layer_ == c.n_layers - 1)
    edit(SiteKind::kResidPost, last_layer_, [this](Tensor& x) { mix(graph_.logits_receiver(), 1, ablated_.logits_in, x.f32()); });
}

void CircuitPass::put(int64_t source, const Tensor& z, const Tensor& ablated) {
  parallel_for(std::ssize(rows_), 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float *x = z.f32() + r * d_, *a = ablated.f32() + reference_[r] * d_;
      float* to = deviation_.f32() + (r * sources_ + source - first_source_) * d_;
      for (int64_t k = 0; k < d_; ++k) to[k] = x[k] - a[k];
    }
  });
}

void CircuitPass::put_heads(int64_t layer, const Tensor& z) {
  const int64_t heads = graph_.config().n_heads, n = std::ssize(rows_);
  const int64_t first = graph_.head_source(layer, 0) - first_source_;
  const Tensor out = Tensor::empty({heads, n, d_}, model_.arena());
  HeadOutputs(model_, layer).differences(z, ablated_.z[layer], reference_, Tensor(out).f32());
  parallel_for(n, 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t h = 0; h < heads; ++h)
        std::memcpy(deviation_.f32() + (r * sources_ + first + h) * d_, out.f32() + (h * n + r) * d_,
                    static_cast<size_t>(d_) * sizeof(float));
  });
}

void CircuitPass::mix(int64_t v, int64_t n, const Tensor& base, float* out) const {
  const int64_t sources = graph_.sources_of(v), below = std::min(first_source_, sources), here = sources - below;
  std::map<std::pair<const EdgeMask*, int32_t>, Weights> weights;
  for (const CircuitRow& row : rows_) {
    Weights& w = weights[{row.circuit, row.role}];
    if (!w.below.empty() || !w.here.empty()) continue;
    w.below.resize(n * below);
    w.here.resize(n * here);
    int64_t edges = 0;
    for (int64_t j = 0; j < n; ++j) {
      const uint8_t* mask = row.circuit->data() + graph_.first_edge(v + j, row.role);
      for (int64_t u = 0; u < sources; ++u) {
        (u < below ? w.below[j * below + u] : w.here[j * here + u - below]) = mask[u] ? 1.0f : 0.0f;
        edges += mask[u];
      }
    }
    w.dense = static_cast<double>(edges) >= kDense * static_cast<double>(n * sources);
  }
  const auto& kernels = model_.context().kernels;
  parallel_for(std::ssize(rows_), 1, [&](int64_t begin, int64_t end) {
    std::vector<float> part(n * d_);
    for (int64_t r = begin; r < end; ++r) {
      const CircuitRow& row = rows_[r];
      const Weights& w = weights.at({row.circuit, row.role});
      const float* deviation = deviations(r);
      float* y = out + r * n * d_;
      const float* b = base.f32() + row.reference * d_;
      for (int64_t j = 0; j < n; ++j) std::memcpy(y + j * d_, b, static_cast<size_t>(d_) * sizeof(float));
      if (w.dense) {
        const auto add_product = [&](const std::vector<float>& m, const float* x, int64_t k) {
          if (k == 0) return;
          kernels.gemm_plain(m.data(), x, part.data(), n, k, d_);
          kernels.add(n * d_, y, part.data(), y);
        };
        add_product(w.below, row.below, below);
        add_product(w.here, deviation, here);
        continue;
      }
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t u = 0; u < below; ++u)
          if (w.below[j * below + u] != 0) kernels.add(d_, y + j * d_, row.below + u * d_, y + j * d_);
        for (int64_t u = 0; u < here; ++u)
          if (w.here[j * here + u] != 0) kernels.add(d_, y + j * d_, deviation + u * d_, y + j * d_);
      }
    }
  });
}

}  // namespace microtome
