// ACDC (Conmy et al. 2023): from the logits down, an edge is dropped where the circuit without it is worse by less than tau.
//
//   AcdcResult r = acdc(run, Metric(MetricKind::kKl), graph, {.tau = .0575});
//   r.circuit;                                // edges that are left
//
// Worse is a higher KL to the clean run (or loss), or a lower difference. Edges are tried receiver by receiver, the last first,
// and for each its sources, the last first; edges into a node that has no output left go without a test.
//
// Chain speculation: most tests end in a drop, so the circuits without the next 1, 2, ... n edges run together, and the longest
// prefix each of whose steps costs less than tau is taken; the edge after it stays. The result is the sequential algorithm's for
// any chain length (as far as runs of one circuit beside different others agree, <= 1e-5). Chains stay among receivers that read
// the same sources, so that layers below run once per example. One thread.
#pragma once

#include <functional>
#include <span>

#include "microtome/base/json.h"
#include "microtome/circuits/graph/circuit_run.h"

namespace microtome {

// Between two chains: where to go on.
struct AcdcState {
  EdgeMask circuit;
  int64_t next = 0;    // edges tried or passed over, in the order that acdc_order gives
  double value = 0;    // the metric of the circuit, mean over examples
  int64_t tested = 0;  // circuits whose drop was decided by a run
};

struct AcdcOptions {
  double tau = 0.0575;
  bool absolute = false;       // |change| < tau
  EdgeMask candidates;         // edges to try; the others are not in the circuit. Empty: all
  int64_t longest_chain = 32;  // circuits that run together; 1: none is speculated
  std::optional<AcdcState> resume;
  std::function<void(const AcdcState&)> checkpoint;  // after each chain
  Progress* progress = nullptr;                      // steps are edges
};

struct AcdcResult {
  EdgeMask circuit;
  double value = 0;                  // the metric of the circuit
  int64_t tested = 0;                // edges whose drop was decided by a run
  int64_t circuits_run = 0;          // rows, speculated in vain ones included
  int64_t macs = 0, plain_macs = 0;  // of this search; plain: a full forward for each edge tested
};

// Throws InvalidArgument for tau < 0 or NaN, candidates or a state of another graph.
AcdcResult acdc(CircuitRun& run, const Metric& metric, const Graph& graph, const AcdcOptions& options);

// The edges in the order in which they are tried.
std::vector<int64_t> acdc_order(const Graph& graph, const EdgeMask& candidates);

// {next, value, tested, edges, kept[]}: kept are the numbers of the edges in the circuit. Throws Corrupt for what is no such
// state of this graph.
Json acdc_state_json(const AcdcState& state);
AcdcState acdc_state_from_json(const Json& json, const Graph& graph);

}  // namespace microtome
