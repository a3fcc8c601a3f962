// How good a circuit is: faithfulness over its size, completeness, minimality, KL (circuits specification, section 8).
//
//   CircuitRun run(...);
//   FaithfulnessCurve c = faithfulness_curve(run, metric, graph, scores.mean, {.seed = 0});
//   c.cpr; c.cmd; c.points[3].f;
//
// f = (m(K) - m(empty)) / (m(full) - m(empty)), m the mean of the metric over examples; intervals are of bootstrap draws of
// examples. All draws are seeded.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "microtome/circuits/graph/circuit_run.h"

namespace microtome {

struct FaithfulnessOptions {
  uint64_t seed = 0;
  int64_t draws = 1000;  // of the bootstrap
  int64_t random = 5;    // random circuits of equal size, for each size; 0: none
  bool by_sign = false;  // edges by score, not by |score|
  Progress* progress = nullptr;
};

struct FaithfulnessPoint {
  double k = 0;                                        // share of edges
  int64_t asked = 0;                                   // floor(k n)
  int64_t edges = 0;                                   // left after pruning
  double f = 0, low = 0, high = 0;                     // and its bootstrap interval, 95 %
  double random = 0, random_low = 0, random_high = 0;  // mean, least and most of the random circuits' f; NaN: none
};

struct FaithfulnessCurve {
  std::vector<FaithfulnessPoint> points;
  double cpr = 0, cpr_low = 0, cpr_high = 0;  // trapezoid of f over k
  double cmd = 0, cmd_low = 0, cmd_high = 0;  // trapezoid of |1 - f| over k
  double full = 0, empty = 0;                 // m
};

// k of MIB: .001, .002, .005, .01, .02, .05, .1, .2, .5, 1.
std::span<const double> mib_shares();

// f of given metric values, and its interval: [examples] each.
struct Interval {
  double value = 0, low = 0, high = 0;
};
Interval faithfulness(std::span<const double> circuit, std::span<const double> full, std::span<const double> empty, uint64_t seed,
                      int64_t draws);

// Top floor(k n) edges by score, pruned, for each k. Throws InvalidArgument where full and empty circuit do not differ.
FaithfulnessCurve faithfulness_curve(CircuitRun& run, const Metric& metric, const Graph& graph, std::span<const double> scores,
                                     const FaithfulnessOptions& options);

// The two areas for given f at given shares.
double trapezoid(std::span<const double> k, std::span<const double> y);

struct CircuitQuality {
  Interval f;
  // Mean over draws of |f(full without J) - f(K without J)|, J a random set of the circuit's nodes, each with probability 1/4.
  double completeness = 0;
  // Mean over its edges (at most `edges_tried`, chosen at random) of f(K) - f(K without the edge), and the share of them without
  // which f falls by less than .001.
  double minimality = 0, needless = 0;
  double kl = 0;  // KL(full || K) at the position that predicts the answer, nats, mean over examples
};
struct QualityOptions {
  uint64_t seed = 0;
  int64_t draws = 1000, knockouts = 10, edges_tried = 50;
  Progress* progress = nullptr;
};
CircuitQuality circuit_quality(CircuitRun& run, const Metric& metric, const Graph& graph, const EdgeMask& circuit,
                               const QualityOptions& options);

}  // namespace microtome
