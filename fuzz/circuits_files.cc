// Circuits of other tools: anything is read or refused.
#include <nlohmann/json.hpp>

#include "fuzzing.h"
#include "microtome/circuits/graph/formats/imported.h"

using namespace microtome;

FUZZ_READER(bytes) {
  Config config;
  config.n_layers = 3, config.n_heads = 4, config.n_kv_heads = 2, config.d_model = 8, config.mlp = true;
  const Graph graph(config);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const ImportedCircuit circuit = read_circuit_file(text, "fuzz", graph);
  MT_CHECK(static_cast<int64_t>(circuit.mask.size()) == graph.n_edges());
  // What was read can be written, and is the same when it is read again.
  const ImportedCircuit again = read_eap_ig(write_eap_ig(graph, circuit.mask, circuit.scores), "fuzz", graph);
  MT_CHECK(again.mask == circuit.mask);
}
