// A circuit of one prompt, resolved by position, as the attribution-graph JSON that Neuronpedia's page reads: {metadata, qParams,
// nodes[], links[]}.
//
//   Json json = write_neuronpedia(graph, example, mask, scores, {.scan = "smollm2-135m", .tokens = pieces, .prompt = text});
//
// Nodes: a token's embedding ("E_TOKEN_POS"), a head's or an MLP's output at a position ("LAYER_NUMBER_POS", numbers 0 .. H - 1
// heads, H the MLP), the answer's logit. A link is an edge of the circuit, its weight the edge's score. An edge into a head's key
// or value feeds the head's output at every later position that the circuit has; its weight is divided among them. Edges without
// such a node are left out. A role of several positions is drawn at its last. Free function without state.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "microtome/base/json.h"
#include "microtome/circuits/example.h"
#include "microtome/circuits/graph/graph.h"

namespace microtome {

struct NeuronpediaOptions {
  std::string slug = "circuit", scan;  // the graph's name; the model's
  std::string prompt;
  std::vector<std::string> tokens;  // the prompt's, as text
  std::string answer;               // the answer token as text
  double answer_probability = 0;
};

// Throws InvalidArgument where the graph is not resolved by position, or the example lacks an answer or one of the roles.
Json write_neuronpedia(const Graph& graph, const Example& example, const EdgeMask& mask, std::span<const double> scores,
                       const NeuronpediaOptions& options);

}  // namespace microtome
