// Circuit files: JSON with the interface document's fields, read as something that anybody may have written.
//
//   Circuit c = circuit_from_json(json, "c.json", model);        // refuses another model's
//   Graph graph(model.config(), {.roles = c.roles});
//   EdgeMask mask = mask_of(graph, c);
//
// {schema, model_sha256, task, metric, ablation, roles[], n_edges, nodes[], edges[{from, to, score, exact}], scores[], ...}:
// `scores`, of every edge of the graph in its order, is what a faithfulness curve ranks by; without it only the edges listed can
// be ranked. What was measured (refined{}, examples{}, f, ...) may be absent or null; where it is there, its kind is checked, so
// that a caller may copy it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "microtome/base/json.h"
#include "microtome/circuits/graph/graph.h"
#include "microtome/model/model.h"

namespace microtome {

inline constexpr const char* kCircuitSchema = "microtome.circuit.v1";

struct CircuitEdge {
  int64_t edge = 0;
  double score = 0;
  std::optional<double> exact;
};

struct Circuit {
  std::string task = "pairs", metric = "logit-diff", ablation = "resample";
  std::vector<std::string> roles;  // empty: not resolved by position
  std::vector<CircuitEdge> edges;  // of the circuit
  std::vector<double> scores;      // of all edges, or empty
};

// Throws Corrupt (a field that is missing or of the wrong kind, an edge twice, more than the graph has, another n_edges),
// InvalidArgument (another model's hash, with both and what to do; nodes that this model does not have; a metric or an ablation
// that there is not), Unsupported (another schema).
Circuit circuit_from_json(const Json& json, const std::string& where, const Model& model);

// The graph that its edges are of.
Graph graph_of(const Circuit& circuit, const Config& config);
EdgeMask mask_of(const Graph& graph, const Circuit& circuit);
// Scores of all edges; of a circuit without them: those of its edges, 0 for the rest.
std::vector<double> scores_of(const Graph& graph, const Circuit& circuit);

// The fields that a circuit itself has; what was measured is added by the caller.
Json circuit_to_json(const Graph& graph, const Circuit& circuit, const std::string& model_sha256);

}  // namespace microtome
