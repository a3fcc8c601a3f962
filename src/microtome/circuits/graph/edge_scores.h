// Scores of edges: what the metric would change by, to first order or exactly, if the edge u -> v carried the ablated value of u
// in place of the clean run's (circuits specification, section 8).
//
//   EdgeScores s = score_edges(model, graph, examples, metric, {.method = EdgeMethod::kEapIg});
//   s.mean[graph.edge(u, v)];                        // over examples
//
//   eap                 sum over positions and d of (a_u - z_u) dM/din_v, gradient in the clean run
//   eap-ig              the gradient averaged over runs whose block-0 input lies between the ablated and the clean one
//   eap-ig-activations  the gradient averaged over runs where the source (all heads of its layer together) lies between
//   clean-corrupted     the mean of the gradients at both ends of eap-ig's path
//   atp                 per node: sum of (a_u - z_u) dM/dz_u, all later paths together; every edge out of u has it
//   exact               M(clean run with the edge patched) - M(clean run)
//
// z_u is the clean run's value, a_u the ablated one. The same digits for any memory budget and thread count. One thread.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "microtome/circuits/graph/ablation.h"
#include "microtome/circuits/graph/circuit_run.h"
#include "microtome/circuits/graph/graph.h"
#include "microtome/circuits/metric.h"
#include "microtome/circuits/neurons/quadrature.h"
#include "microtome/model/model.h"

namespace microtome {

enum class EdgeMethod : uint8_t { kEap, kEapIg, kEapIgActivations, kCleanCorrupted, kAtp, kExact };
// "eap", "eap-ig", ...; the reverse throws InvalidArgument with the names there are.
std::string_view edge_method_name(EdgeMethod method);
EdgeMethod parse_edge_method(std::string_view name);

struct ScoreOptions {
  EdgeMethod method = EdgeMethod::kEap;
  Ablation ablation;
  QuadratureRule rule = QuadratureRule::kMidpoint;  // on the path from the ablated input (0) to the clean one (1)
  bool per_example = false;                         // keep each example's scores
  int64_t steps = 0;  // its nodes; 0: 5, doubled for each example until its gap is below 1 % (at most 128)
  double memory_gb = 1;
  Progress* progress = nullptr;
};

struct EdgeScores {
  std::vector<double> mean;            // [edges], over examples
  std::vector<float> per_example;      // [examples, edges], where asked for
  std::vector<double> node;            // atp: [sources, roles], mean over examples
  std::vector<double> clean, ablated;  // M of each example's clean run, and of its run from the ablated input
  // eap-ig: |sum over receivers of score(input -> v) - (ablated - clean)| / |ablated - clean| of each example, and nodes used;
  // the gap is NaN where the two runs' metrics do not differ.
  std::vector<double> gap;
  std::vector<int64_t> nodes;
  double total_gap = 0;  // the same with numerator and denominator summed over examples
};

// M(clean run with one edge carrying the ablated value) - M(clean run), for each of `edges`, on each example. sink(i, effects
// [examples]) sees each edge once, in order of their receivers: `run` (of the same graph) shares what lies below.
void patch_edges(CircuitRun& run, const Metric& metric, const Graph& graph, std::span<const int64_t> edges,
                 const std::function<void(size_t i, std::span<const double> effects)>& sink, Progress* progress = nullptr);

// Throws what check_example, Metric::check and forward throw; InvalidArgument for no examples.
EdgeScores score_edges(const Model& model, const Graph& graph, const std::vector<Example>& examples, const Metric& metric,
                       const ScoreOptions& options);

}  // namespace microtome
