#include <algorithm>
#include <numeric>

#include "microtome/circuits/graph/edge_scores.h"

namespace microtome {
namespace {

// Circuits at a time: bounds their masks, and what an interruption costs.
constexpr size_t kChunk = 64;

}  // namespace

void patch_edges(CircuitRun& run, const Metric& metric, const Graph& graph, std::span<const int64_t> edges,
                 const std::function<void(size_t, std::span<const double>)>& sink, Progress* progress) {
  std::vector<size_t> order(edges.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return graph.ends(edges[a]).receiver < graph.ends(edges[b]).receiver; });
  EdgeMask full(graph.n_edges(), 1);
  const EdgeMask* whole = &full;
  const std::vector<double> clean = run.metric(metric, {&whole, 1})[0];
  if (progress) progress->begin("edges", static_cast<double>(edges.size()));
  std::vector<EdgeMask> masks(std::min(kChunk, edges.size()), full);
  std::vector<const EdgeMask*> circuits;
  for (const EdgeMask& m : masks) circuits.push_back(&m);
  for (size_t begin = 0; begin < order.size(); begin += kChunk) {
    const size_t n = std::min(kChunk, order.size() - begin);
    for (size_t i = 0; i < n; ++i) masks[i][edges[order[begin + i]]] = 0;
    std::vector<std::vector<double>> values = run.metric(metric, std::span(circuits).first(n));
    for (size_t i = 0; i < n; ++i) {
      masks[i][edges[order[begin + i]]] = 1;
      for (size_t e = 0; e < clean.size(); ++e) values[i][e] -= clean[e];
      sink(order[begin + i], values[i]);
    }
    if (progress) progress->step(static_cast<double>(n));
  }
  if (progress) progress->end();
}

}  // namespace microtome
