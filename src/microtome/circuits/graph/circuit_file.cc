#include "microtome/circuits/graph/circuit_file.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <span>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/ablation.h"
#include "microtome/circuits/graph/select.h"
#include "microtome/circuits/metric.h"
#include "microtome/lens/model_hash.h"

namespace microtome {
namespace {

constexpr size_t kMostRoles = 512;
constexpr size_t kMostNameBytes = 200;

[[noreturn]] void corrupt(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kCorrupt, "{}: {}; it is no circuit file that `microtome circuit find` wrote", where, what);
}

const Json& field(const Json& json, const char* name, const std::string& where) {
  const auto it = json.find(name);
  if (it == json.end()) corrupt(where, fmt::format("the field \"{}\" is missing", name));
  return *it;
}

std::string text(const Json& value, const std::string& what, const std::string& where) {
  if (!value.is_string()) corrupt(where, what + " is no text");
  std::string s = value.get<std::string>();
  if (s.size() > kMostNameBytes) corrupt(where, what + " is too long");
  return s;
}

double number(const Json& value, const std::string& what, const std::string& where) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) corrupt(where, what + " is no finite number");
  return value.get<double>();
}

// Six digits are more than scores are good for.
double rounded(double x) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.6g", x);
  return std::atof(digits);
}

// --- what was measured ------------------------------------------------------------------------------------------------------

enum class Kind { kText, kNumber, kCount, kTruth, kTexts, kList, kObject, kCountOrList };

struct FieldKind {
  const char* name;
  Kind kind;
};

// Beside the circuit itself, of the results of find, eval and run.
constexpr FieldKind kMeasured[] = {
    {"model", Kind::kText},          {"method", Kind::kText},       {"compute", Kind::kText},    {"prompts", Kind::kCountOrList},
    {"examples", Kind::kObject},     {"signed", Kind::kTruth},      {"ig_gap", Kind::kNumber},   {"ig_gaps", Kind::kList},
    {"ig_nodes", Kind::kList},       {"refined", Kind::kObject},    {"missed", Kind::kNumber},   {"acdc", Kind::kObject},
    {"ilp", Kind::kObject},          {"n_edges", Kind::kCount},     {"nodes", Kind::kTexts},     {"warnings", Kind::kTexts},
    {"faithfulness", Kind::kList},   {"f", Kind::kNumber},          {"f_low", Kind::kNumber},    {"f_high", Kind::kNumber},
    {"completeness", Kind::kNumber}, {"minimality", Kind::kNumber}, {"needless", Kind::kNumber}, {"kl", Kind::kNumber},
    {"cpr", Kind::kNumber},          {"cpr_low", Kind::kNumber},    {"cpr_high", Kind::kNumber}, {"cmd", Kind::kNumber},
    {"cmd_low", Kind::kNumber},      {"cmd_high", Kind::kNumber},   {"full", Kind::kNumber},     {"empty", Kind::kNumber},
    {"circuit", Kind::kNumber},      {"computes", Kind::kList}};
constexpr FieldKind kRefined[] = {{"edges", Kind::kCount},
                                  {"sampled", Kind::kCount},
                                  {"threshold", Kind::kNumber},
                                  {"missed", Kind::kNumber},
                                  {"cosine", Kind::kNumber}};
constexpr FieldKind kExamples[] = {{"task", Kind::kText}, {"n", Kind::kCount}, {"seed", Kind::kCount}, {"bos", Kind::kTruth}};

bool is_count(const Json& value) { return value.is_number_unsigned() || (value.is_number_integer() && value >= 0); }

void check_kind(const Json& value, Kind kind, const std::string& what, const std::string& where) {
  switch (kind) {
    case Kind::kText: text(value, what, where); return;
    case Kind::kNumber: number(value, what, where); return;
    case Kind::kCount:
      if (!is_count(value)) corrupt(where, what + " is no whole number from 0");
      return;
    case Kind::kTruth:
      if (!value.is_boolean()) corrupt(where, what + " is neither true nor false");
      return;
    case Kind::kTexts:
      if (!value.is_array() || !std::all_of(value.begin(), value.end(), [](const Json& e) { return e.is_string(); }))
        corrupt(where, what + " is no list of texts");
      return;
    case Kind::kList:
      if (!value.is_array()) corrupt(where, what + " is no list");
      return;
    case Kind::kObject:
      if (!value.is_object()) corrupt(where, what + " is no object");
      return;
    case Kind::kCountOrList:
      if (!value.is_array() && !is_count(value)) corrupt(where, what + " is neither a whole number nor a list");
      return;
  }
}

// Null is what was not measured. `inside`: the object that they are fields of, "" or "refined".
void check_kinds(const Json& object, std::span<const FieldKind> kinds, const std::string& inside, const std::string& where) {
  for (const FieldKind& f : kinds)
    if (const auto it = object.find(f.name); it != object.end() && !it->is_null())
      check_kind(*it, f.kind, fmt::format("\"{}{}{}\"", inside, inside.empty() ? "" : ".", f.name), where);
}

void check_measured(const Json& json, const std::string& where, const Graph& graph) {
  check_kinds(json, kMeasured, "", where);
  if (const auto r = json.find("refined"); r != json.end() && r->is_object()) {
    check_kinds(*r, kRefined, "refined", where);
    for (const char* name : {"edges", "sampled"})
      if (const auto n = r->find(name); n == r->end() || n->is_null())
        corrupt(where, fmt::format("\"refined\" lacks \"{}\"", name));
  }
  if (const auto e = json.find("examples"); e != json.end() && e->is_object()) check_kinds(*e, kExamples, "examples", where);
  if (const auto n = json.find("n_edges"); n != json.end() && !n->is_null() && *n != graph.n_edges())
    corrupt(where, fmt::format("\"n_edges\" is {}, but this model's graph has {} edges", n->dump(), graph.n_edges()));
}

// --- the circuit ------------------------------------------------------------------------------------------------------------

// A name that `parse` knows.
template <class Parse>
std::string known(const Json& json, const char* name, const std::string& where, Parse parse) {
  const std::string s = text(field(json, name, where), fmt::format("\"{}\"", name), where);
  try {
    parse(s);
  } catch (const Error& e) {
    throw Error(ErrorKind::kInvalidArgument, "{}: \"{}\": {}", where, name, e.what());
  }
  return s;
}

void check_model(const Json& json, const std::string& where, const Model& model) {
  const std::string theirs = text(field(json, "model_sha256", where), "\"model_sha256\"", where), ours = model_sha256(model);
  if (theirs != ours)
    throw Error(
        ErrorKind::kInvalidArgument,
        "{}: the circuit was found in another model (its sha256 is {}, this model's {}); give the model it belongs to, or "
        "find it anew in this one with `microtome circuit MODEL find`",
        where, printable(theirs, 16), ours.substr(0, 16));
}

std::vector<std::string> read_roles(const Json& json, const std::string& where) {
  std::vector<std::string> roles;
  const auto it = json.find("roles");
  if (it == json.end() || it->is_null()) return roles;
  if (!it->is_array() || it->size() > kMostRoles)
    corrupt(where, fmt::format("\"roles\" is no list of at most {} texts", kMostRoles));
  for (const Json& r : *it) roles.push_back(text(r, "a role", where));
  if (std::set<std::string>(roles.begin(), roles.end()).size() != roles.size()) corrupt(where, "a role is listed twice");
  return roles;
}

CircuitEdge read_edge(const Graph& graph, const Json& e, size_t i, const std::string& where) {
  const std::string what = fmt::format("edge {}", i);
  if (!e.is_object()) corrupt(where, what + " is no object");
  const std::string from = text(field(e, "from", where), what, where), to = text(field(e, "to", where), what, where);
  CircuitEdge out{.edge = graph.find_edge(from, to)};
  if (out.edge < 0)
    throw Error(ErrorKind::kInvalidArgument, "{}: edge {}, \"{}\" to \"{}\", is none of this model's ({} layers of {} heads)",
                where, i, printable(from), printable(to), graph.n_layers(), graph.config().n_heads);
  if (const auto s = e.find("score"); s != e.end() && !s->is_null()) out.score = number(*s, what + "'s score", where);
  if (const auto x = e.find("exact"); x != e.end() && !x->is_null()) out.exact = number(*x, what + "'s exact effect", where);
  return out;
}

}  // namespace

Graph graph_of(const Circuit& circuit, const Config& config) { return Graph(config, {.roles = circuit.roles}); }

Circuit circuit_from_json(const Json& json, const std::string& where, const Model& model) {
  if (!json.is_object()) corrupt(where, "it is no JSON object");
  const std::string schema = text(field(json, "schema", where), "\"schema\"", where);
  if (schema != kCircuitSchema)
    throw Error(ErrorKind::kUnsupported, "{}: the schema is \"{}\", expected \"{}\"", where, printable(schema), kCircuitSchema);
  check_model(json, where, model);
  Circuit c;
  c.task = text(field(json, "task", where), "\"task\"", where);
  c.metric = known(json, "metric", where, parse_metric);
  c.ablation = known(json, "ablation", where, parse_ablation);
  c.roles = read_roles(json, where);
  const Graph graph = graph_of(c, model.config());
  check_measured(json, where, graph);
  const Json& edges = field(json, "edges", where);
  if (!edges.is_array() || std::ssize(edges) > graph.n_edges())
    corrupt(where, fmt::format("\"edges\" is no list of at most {} edges", graph.n_edges()));
  EdgeMask seen(graph.n_edges(), 0);
  for (size_t i = 0; i < edges.size(); ++i) {
    c.edges.push_back(read_edge(graph, edges[i], i, where));
    if (seen[c.edges.back().edge]++) corrupt(where, fmt::format("edge {} is there twice", i));
  }
  const auto scores = json.find("scores");
  if (scores == json.end() || scores->is_null()) return c;
  if (!scores->is_array() || std::ssize(*scores) != graph.n_edges())
    corrupt(where, fmt::format("\"scores\" is no list of {} numbers, one for each edge", graph.n_edges()));
  for (const Json& s : *scores) c.scores.push_back(number(s, "a score", where));
  return c;
}

EdgeMask mask_of(const Graph& graph, const Circuit& circuit) {
  EdgeMask mask(graph.n_edges(), 0);
  for (const CircuitEdge& e : circuit.edges) mask[e.edge] = 1;
  return mask;
}

std::vector<double> scores_of(const Graph& graph, const Circuit& circuit) {
  if (!circuit.scores.empty()) return circuit.scores;
  std::vector<double> scores(graph.n_edges(), 0.0);
  for (const CircuitEdge& e : circuit.edges) scores[e.edge] = e.score;
  return scores;
}

Json circuit_to_json(const Graph& graph, const Circuit& circuit, const std::string& model_sha256) {
  Json edges = Json::array(), scores = Json::array();
  for (const CircuitEdge& e : circuit.edges) {
    const EdgeEnds x = graph.ends(e.edge);
    edges.push_back({{"from", graph.source_name(x.source, x.role)},
                     {"to", graph.receiver_name(x.receiver, x.role)},
                     {"score", rounded(e.score)},
                     {"exact", e.exact ? Json(rounded(*e.exact)) : Json()}});
  }
  for (const double s : circuit.scores) scores.push_back(rounded(s));
  Json out{{"schema", kCircuitSchema},     {"model_sha256", model_sha256},
           {"task", circuit.task},         {"metric", circuit.metric},
           {"ablation", circuit.ablation}, {"roles", circuit.roles.empty() ? Json() : Json(circuit.roles)},
           {"n_edges", graph.n_edges()},   {"nodes", circuit_nodes(graph, mask_of(graph, circuit))},
           {"edges", std::move(edges)}};
  out["scores"] = circuit.scores.empty() ? Json() : std::move(scores);
  return out;
}

}  // namespace microtome
