// circuit: which edges of the model carry a task, and how good the circuit that they make is.
//
//   CircuitOptions o{.verb = "find", .examples = {.task = "ioi", .n = 8}, .edges = 200};
//   const Json c = circuit(context, o);               // scores edges, selects, measures: a circuit file
//   CircuitOptions e{.verb = "eval", .circuit = std::make_shared<Json>(c), .where = "c.json"};
//   circuit(context, e)["faithfulness"];
//
// find   scores every edge (`method`), selects some (`select`), prunes, and measures the circuit
// run    runs the model with a circuit's edges only, prompt by prompt
// eval   measures a circuit file (also EAP-IG's and auto-circuit's), on its own task or other prompts
// export writes a circuit file for another tool
// See docs/circuits.md.
#pragma once

#include <filesystem>
#include <memory>

#include "microtome/api/examples.h"
#include "microtome/base/json.h"
#include "microtome/circuits/graph/graph.h"

namespace microtome::api {

struct CircuitOptions {
  std::string verb = "find";
  ExamplesOptions examples;             // run, eval: absent, those the circuit was found on (a task's only)
  std::shared_ptr<const Json> circuit;  // run, eval, export; lines of text as a JSON string
  std::string where = "circuit";        // what messages call it

  std::string method = "eap-ig";       // eap, eap-ig, eap-ig-activations, clean-corrupted, atp, acdc, exact
  std::string rule = "midpoint";       // of the integral: left, midpoint, gauss
  int64_t steps = 0;                   // its nodes; 0: 5, doubled until the gap is below 1 %
  std::string select = "top";          // top, threshold, greedy, bootstrap, ilp
  int64_t edges = 0, nodes = 0;        // how many; both 0: a hundredth of the edges
  std::optional<double> tau;           // threshold; acdc: .0575
  double time_limit = 30;              // ilp: seconds
  std::string format = "neuronpedia";  // export: neuronpedia, eap-ig, auto-circuit
  bool by_sign = false;                // by score, not by its size
  bool positions = false;              // edges resolved by the roles of positions
  std::optional<std::string> ablate;   // resample, zero, mean, mean-position (find: resample; else the circuit's own)
  std::optional<std::string> metric;   // the task's own, or the circuit's
  int64_t refine = 0;                  // top edges patched exactly, and as many random rejected ones
  int64_t random = 3;                  // random circuits of equal size for each point of the curve
  bool measure = true;                 // find: also what eval gives
  double memory_gb = 1;
  uint64_t seed = 0;
  // Where exact effects are kept as they come; empty: nowhere. Only the command line sets it.
  std::filesystem::path state;
};

// Throws InvalidArgument also for a field that the verb, the method or the selection does not use.
CircuitOptions circuit_options(const Json& request);

// find, eval: a circuit file (circuit_file.h) with {model, method, compute, prompts, ig_gap, ig_gaps[], ig_nodes[], refined{},
// missed, faithfulness[{k, f, low, high, edges, random, random_low, random_high}], f, f_low, f_high, completeness, minimality,
// needless, kl, cpr, cmd, full, empty, acdc{}, ilp{gap, ..}, warnings[]}. run: {model, compute, prompts[{clean, corrupted, full,
// empty, circuit, f}], f, f_low, f_high}. Throws InvalidArgument (a circuit that is malformed: FieldError "circuit"), NotFound,
// Unsupported.
Json circuit(const Context& context, const CircuitOptions& options);

}  // namespace microtome::api
