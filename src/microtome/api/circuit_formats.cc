#include "microtome/api/circuit_formats.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/circuits/graph/formats/imported.h"
#include "microtome/circuits/graph/formats/neuronpedia.h"
#include "microtome/circuits/graph/select.h"

namespace microtome::api {
namespace {

double probability(const Model& model, const Example& e) {
  Batch batch;
  batch.add_sequence(e.clean);
  const Tensor logits = forward(model, {.batch = batch}).logits.data;
  const float* x = logits.f32();
  const double top = *std::max_element(x, x + logits.numel());
  double sum = 0;
  for (int64_t i = 0; i < logits.numel(); ++i) sum += std::exp(x[i] - top);
  return std::exp(x[e.answers[0]] - top) / sum;
}

void refuse_positions(const Circuit& circuit, const std::string& format) {
  if (!circuit.roles.empty())
    throw FieldError("format",
                     fmt::format("{} knows no positions, and this circuit is resolved by them; export it as neuronpedia, or "
                                 "find one without --positions",
                                 format));
}

Circuit read_any(const Json& file, const std::string& where, const Model& model) {
  if (file.is_object() && file.contains("schema")) return circuit_from_json(file, where, model);
  const Graph graph(model.config());
  const ImportedCircuit from = read_circuit_json(file, where, graph);
  if (count_edges(from.mask) == 0)
    throw Error(ErrorKind::kCorrupt,
                "{}: there is no edge in it; expected a circuit file of `microtome circuit MODEL find`, EAP-IG's "
                "graph JSON or auto-circuit's edges",
                where);
  Circuit out;
  out.task = from.format;
  for (const int64_t e : ranked_edges(from.scores))
    if (from.mask[e]) out.edges.push_back({e, from.scores[e], {}});
  // An edge list says nothing of the edges that are not in it.
  if (from.scored && from.format == "eap-ig") out.scores = from.scores;
  return out;
}

}  // namespace

Circuit any_circuit(const Json& file, const std::string& where, const Model& model) {
  try {
    return read_any(file, where, model);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kIo || e.kind() == ErrorKind::kCancelled) throw;
    throw FieldError("circuit", e.what());
  }
}

Json export_circuit(const Context& context, const Graph& graph, const Circuit& circuit, const std::string& format,
                    const ExampleSet* set) {
  const EdgeMask mask = mask_of(graph, circuit);
  const std::vector<double> scores = scores_of(graph, circuit);
  if (format == "eap-ig" || format == "auto-circuit") {
    refuse_positions(circuit, format);
    return format == "eap-ig" ? write_eap_ig(graph, mask, scores) : write_auto_circuit(graph, mask, scores);
  }
  if (format != "neuronpedia")
    throw FieldError("format", fmt::format("format \"{}\": expected neuronpedia, eap-ig or auto-circuit", printable(format)));
  MT_CHECK(set != nullptr && !set->examples.empty());
  const Example& e = set->examples[0];
  if (circuit.roles.empty() || e.answers.empty())  // refused with the reason
    return write_neuronpedia(graph, e, mask, scores, {});
  const Model& model = *context.model;
  NeuronpediaOptions o{.slug = "microtome-" + circuit.task, .scan = context.name, .prompt = set->clean[0]};
  for (const int32_t id : e.clean) o.tokens.push_back(token_text(model, id));
  o.answer = token_text(model, e.answers[0]);
  o.answer_probability = probability(model, e);
  return write_neuronpedia(graph, e, mask, scores, o);
}

}  // namespace microtome::api
