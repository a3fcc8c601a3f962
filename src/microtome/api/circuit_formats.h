// `circuit`: files of other tools, read as ours and written for them.
//
//   const Circuit c = any_circuit(json, "theirs.json", model);      // ours, EAP-IG's graph JSON, or auto-circuit's edges
#pragma once

#include "microtome/api/examples.h"
#include "microtome/circuits/graph/circuit_file.h"

namespace microtome::api {

// Text that is no JSON (a list of edges, one a line) comes as a JSON string.
Circuit any_circuit(const Json& file, const std::string& where, const Model& model);

// `format`: neuronpedia, eap-ig, auto-circuit. `set`: the circuit's prompts (neuronpedia: of the first). Throws InvalidArgument
// for another format, or a circuit that it cannot hold.
Json export_circuit(const Context& context, const Graph& graph, const Circuit& circuit, const std::string& format,
                    const ExampleSet* set);

}  // namespace microtome::api
