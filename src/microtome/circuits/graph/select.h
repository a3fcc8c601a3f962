// Which edges make a circuit.
//
//   EdgeMask k = prune(graph, select_top(scores.mean, 200));
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "microtome/circuits/graph/graph.h"

namespace microtome {

// By |score|, or by score (`by_sign`): the largest first; ties by number.
std::vector<int64_t> ranked_edges(std::span<const double> scores, bool by_sign = false);

EdgeMask select_top(std::span<const double> scores, int64_t n, bool by_sign = false);
// |score| >= threshold (score, with `by_sign`).
EdgeMask select_threshold(std::span<const double> scores, double threshold, bool by_sign = false);
// From the logits down: of the edges into nodes that are in the circuit, always the largest next, until there are n.
EdgeMask select_greedy(const Graph& graph, std::span<const double> scores, int64_t n, bool by_sign = false);

struct Bootstrapped {
  EdgeMask mask;
  std::vector<float> share;  // of the draws in which the edge is among the top n
};
// The n edges that are among the top n in most of `draws` bootstrap draws of the examples (ties: by |mean score|).
// per_example [examples, edges].
Bootstrapped select_bootstrap(std::span<const float> per_example, int64_t n_examples, int64_t n_edges, int64_t n, uint64_t seed,
                              int64_t draws = 200);

// All edges among the input, the logits and the n sources with the largest scores (node [sources, roles], as EdgeScores has
// them), pruned.
EdgeMask select_nodes(const Graph& graph, std::span<const double> node, int64_t n, bool by_sign = false);

// Without nodes that have no input or no output, again and again. By position: a head's queries and an MLP's input feed the
// output of the same role, its keys and values that of any role.
EdgeMask prune(const Graph& graph, EdgeMask mask);

int64_t count_edges(const EdgeMask& mask);
// Names of the nodes that the edges touch, in the order of the graph: "input", "a5.h1@S2", ..., "logits".
std::vector<std::string> circuit_nodes(const Graph& graph, const EdgeMask& mask);

}  // namespace microtome
