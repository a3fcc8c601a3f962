// Edges by integer program: the N edges of the largest total |score| such that every node between input and logits has an edge in
// and an edge out.
//
//   IlpSelection s = select_ilp(graph, scores.mean, {.edges = 200});
//   s.mask;  s.gap;                                // 0: proven best
//
// Solved by CBC's branch and bound, from the answer of the greedy selection, over the `candidates` edges of the largest |score|.
// The answer is the same each time unless the time limit ends the search; the gap says how far from the best it may be. Throws
// Unsupported where edges are resolved by position (select greedily there). One thread.
#pragma once

#include <span>

#include "microtome/circuits/graph/graph.h"

namespace microtome {

struct IlpOptions {
  int64_t edges = 200;
  int64_t candidates = 2000;  // at most this many edges are considered
  double seconds = 30;
  bool by_sign = false;  // total score, not |score|
};

struct IlpSelection {
  EdgeMask mask;
  double value = 0;  // total of the edges chosen
  double bound = 0;  // no circuit of these candidates has more
  double gap = 0;    // (bound - value) / |bound|
  bool optimal = false;
  double seconds = 0;
};

IlpSelection select_ilp(const Graph& graph, std::span<const double> scores, const IlpOptions& options);

}  // namespace microtome
