#include "microtome/circuits/graph/contraction.h"

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

// Receivers in one product: as many as a packed panel is wide.
constexpr int64_t kBlock = 64;

int64_t per_layer(const Graph& graph) { return graph.n_layers() > 0 ? graph.first_receiver(1) : 0; }

}  // namespace

Contraction::Contraction(const Model& model, const Graph& graph, std::vector<int32_t> roles)
    : model_(model), graph_(graph), roles_(std::move(roles)), n_sources_(graph.n_sources()), d_(graph.config().d_model) {
  delta_ = Tensor::empty({rows(), n_sources_, d_}, model.arena());
}

int64_t Contraction::bytes_per_row(const Graph& graph, bool keep_all) {
  const int64_t gradients = keep_all ? graph.n_receivers() : kBlock + per_layer(graph);
  return (graph.n_sources() + gradients) * graph.config().d_model * static_cast<int64_t>(sizeof(float));
}

void Contraction::begin(int64_t first_source, int64_t last_source, bool keep_all) {
  first_ = first_source;
  last_ = last_source;
  keep_all_ = keep_all;
  const int64_t capacity = keep_all ? graph_.n_receivers() : std::min(graph_.n_receivers(), kBlock + per_layer(graph_));
  if (capacity != capacity_ || !gradient_.defined()) gradient_ = Tensor::empty({rows(), capacity, d_}, model_.arena());
  capacity_ = capacity;
  std::fill_n(gradient_.f32(), gradient_.numel(), 0.0f);
  top_ = low_ = graph_.n_receivers();
}

void Contraction::add(int64_t v, int64_t row, float weight, const float* gradient) {
  low_ = std::min(low_, v);
  MT_CHECK(v < top_ && top_ - low_ <= capacity_);
  model_.context().kernels.add_scaled(d_, weight, gradient, slot(v, row));
}

void Contraction::done_down_to(int64_t v, std::vector<double>& scores) {
  if (keep_all_ || top_ - v < kBlock) return;
  low_ = v;
  contract(scores);
  std::fill_n(gradient_.f32(), gradient_.numel(), 0.0f);
  top_ = v;
}

void Contraction::finish(std::vector<double>& scores) {
  contract(scores);
  top_ = low_;
}

void Contraction::contract(std::vector<double>& scores) {
  const auto& kernels = model_.context().kernels;
  const int64_t waiting = top_ - low_;
  parallel_for((waiting + kBlock - 1) / kBlock, 1, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block) {
      const int64_t from = block * kBlock, n = std::min(kBlock, waiting - from);
      int64_t sources = 0;
      for (int64_t j = 0; j < n; ++j) sources = std::max(sources, graph_.sources_of(top_ - 1 - from - j));
      const int64_t m = std::min(sources, last_) - first_;
      if (m <= 0) continue;
      std::vector<float> b(d_ * n), c(m * n);
      for (int64_t row = 0; row < rows(); ++row) {
        const float* g = gradient_.f32() + (row * capacity_ + from) * d_;
        kernels.transpose(n, d_, g, b.data());
        kernels.gemm_plain(delta(row) + first_ * d_, b.data(), c.data(), m, d_, n);
        for (int64_t j = 0; j < n; ++j) {
          const int64_t v = top_ - 1 - from - j, last = std::min(last_, graph_.sources_of(v)) - first_;
          double* to = scores.data() + graph_.edge(first_, v, roles_[row]);
          for (int64_t u = 0; u < last; ++u) to[u] += c[u * n + j];
        }
      }
    }
  });
}

}  // namespace microtome
