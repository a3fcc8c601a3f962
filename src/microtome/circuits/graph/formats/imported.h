// Circuits from other tools: read into a mask and scores of our graph, and written for them.
//
//   ImportedCircuit c = read_circuit_file(text, "greater_than.json", graph);
//   c.mask; c.scores;
//
// Formats:
//   eap-ig        EAP-IG's Graph.to_json: {cfg{n_layers, n_heads, parallel_attn_mlp, d_model}, nodes{name: {in_graph}},
//                 edges{"m3->a5.h1<k>": {score, in_graph}}}
//   auto-circuit  names of its edges, "A0.1->A5.1.K", "Resid Start->MLP 3", "MLP 3->Resid End": a JSON list, a JSON object
//                 {name: score}, either also as the field "edges", or lines of text "NAME [SCORE]"
//
// Both count keys and values per query head. Where heads share them, an edge into a group's key is in the circuit if one of its
// heads' is, and its score is their sum; written, each head gets an equal part. Text may be hostile: everything is checked,
// nothing thrown but Error (Corrupt for what is malformed, InvalidArgument for a circuit of another model). Free functions
// without state.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/base/json.h"
#include "microtome/circuits/graph/graph.h"

namespace microtome {

struct ImportedCircuit {
  std::string format;  // "eap-ig", "auto-circuit"
  EdgeMask mask;
  std::vector<double> scores;  // 0 where the file has none
  bool scored = false;         // the file has scores
};

// Tells the formats apart. `where` begins error messages. The graph is not resolved by position.
ImportedCircuit read_circuit_file(std::string_view text, const std::string& where, const Graph& graph);

// The same of JSON that was parsed; lines of text come as a JSON string.
ImportedCircuit read_circuit_json(const Json& json, const std::string& where, const Graph& graph);

ImportedCircuit read_eap_ig(const Json& json, const std::string& where, const Graph& graph);
ImportedCircuit read_auto_circuit(const Json& json, const std::string& where, const Graph& graph);

// All edges with their scores; those of the mask are in_graph.
Json write_eap_ig(const Graph& graph, const EdgeMask& mask, std::span<const double> scores);
// The mask's edges and their scores, {name: score}.
Json write_auto_circuit(const Graph& graph, const EdgeMask& mask, std::span<const double> scores);

// True for JSON that looks like EAP-IG's.
bool is_eap_ig(const Json& json);

}  // namespace microtome
