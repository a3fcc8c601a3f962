// `circuit find --method acdc`: the search, which edges it tries, and how it goes on after it was stopped.
//
//   EdgeMask k = find_acdc(run, graph, metric, eap_scores, {.tau = .0575, .state = "c.json.partial", .key = hash}, report);
#pragma once

#include <filesystem>
#include <span>

#include "microtome/circuits/graph/acdc.h"

namespace microtome::api {

struct AcdcSearch {
  double tau = 0.0575;
  std::filesystem::path state;  // where the search is kept from time to time; empty: nowhere
  std::string key;              // what it depends on; a state of another key is not used
  Progress* progress = nullptr;
};

// The edges that are left, without loose ends. Tries every edge where there are at most 20,000, else the 2,000 of the largest
// |score|. `report` gets {tau, metric, candidates, tested, circuits_run, value, macs, plain_macs}.
EdgeMask find_acdc(CircuitRun& run, const Graph& graph, const Metric& metric, std::span<const double> scores,
                   const AcdcSearch& search, Json& report);

}  // namespace microtome::api
