#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/formats/head_names.h"
#include "microtome/circuits/graph/formats/imported.h"

namespace microtome {
namespace {

using formats_internal::file_edges;
using formats_internal::FileEdge;
using formats_internal::FileReceiver;
using formats_internal::small_number;

// "input", "logits", "m3", "a5.h1", with <q>, <k>, <v> behind heads that receive.
struct Name {
  GraphNode node;
  char slot = 0;
};

std::optional<Name> parse_name(std::string_view text) {
  Name out;
  if (text == "input") return out;
  if (text == "logits") return Name{{GraphNode::Kind::kLogits}, 0};
  if (text.starts_with('m')) {
    const auto layer = small_number(text.substr(1));
    if (!layer) return {};
    return Name{{GraphNode::Kind::kMlp, *layer}, 0};
  }
  if (!text.starts_with('a')) return {};
  if (text.size() > 3 && text.ends_with('>') && text[text.size() - 3] == '<') {
    out.slot = text[text.size() - 2];
    if (out.slot != 'q' && out.slot != 'k' && out.slot != 'v') return {};
    text.remove_suffix(3);
  }
  const size_t dot = text.find(".h");
  if (dot == std::string_view::npos) return {};
  const auto layer = small_number(text.substr(1, dot - 1)), head = small_number(text.substr(dot + 2));
  if (!layer || !head) return {};
  out.node = {GraphNode::Kind::kHead, *layer, *head};
  return out;
}

std::optional<FileReceiver> receiver_of(const Name& n) {
  using Kind = Receiver::Kind;
  switch (n.node.kind) {
    case GraphNode::Kind::kInput: return {};
    case GraphNode::Kind::kLogits: return FileReceiver{Kind::kLogits};
    case GraphNode::Kind::kMlp: return FileReceiver{Kind::kMlp, n.node.layer};
    case GraphNode::Kind::kHead: break;
  }
  if (n.slot == 0) return {};
  return FileReceiver{n.slot == 'q' ? Kind::kQuery : n.slot == 'k' ? Kind::kKey : Kind::kValue, n.node.layer, n.node.head};
}

std::string node_name(const GraphNode& n) {
  switch (n.kind) {
    case GraphNode::Kind::kInput: return "input";
    case GraphNode::Kind::kLogits: return "logits";
    case GraphNode::Kind::kMlp: return fmt::format("m{}", n.layer);
    case GraphNode::Kind::kHead: return fmt::format("a{}.h{}", n.layer, n.head);
  }
  return "";
}

std::string receiver_name(const FileReceiver& r) {
  switch (r.kind) {
    case Receiver::Kind::kLogits: return "logits";
    case Receiver::Kind::kMlp: return fmt::format("m{}", r.layer);
    case Receiver::Kind::kQuery: return fmt::format("a{}.h{}<q>", r.layer, r.head);
    case Receiver::Kind::kKey: return fmt::format("a{}.h{}<k>", r.layer, r.head);
    case Receiver::Kind::kValue: return fmt::format("a{}.h{}<v>", r.layer, r.head);
  }
  return "";
}

void check_config(const Json& cfg, const std::string& where, const Graph& graph) {
  const Config& c = graph.config();
  const auto same = [&](const char* name, int64_t ours) {
    const auto it = cfg.find(name);
    if (it == cfg.end()) return;
    if (!it->is_number_integer()) throw Error(ErrorKind::kCorrupt, "{}: \"cfg\": \"{}\" is not a whole number", where, name);
    if (*it != ours)
      throw Error(ErrorKind::kInvalidArgument,
                  "{}: the circuit is of a model with {} {}, this one has {}; give the circuit's model", where, name, it->dump(),
                  ours);
  };
  if (!cfg.is_object()) throw Error(ErrorKind::kCorrupt, "{}: \"cfg\" is not an object", where);
  same("n_layers", c.n_layers);
  same("n_heads", c.n_heads);
  same("d_model", c.d_model);
}

struct EdgeValue {
  bool in_graph = false;
  std::optional<double> score;
};

EdgeValue edge_value(const Json& value, const std::string& where, const std::string& name) {
  EdgeValue out;
  if (value.is_boolean()) return {value.get<bool>(), {}};
  if (!value.is_object()) throw Error(ErrorKind::kCorrupt, "{}: edge \"{}\" is not an object", where, printable(name));
  const auto in = value.find("in_graph");
  if (in == value.end() || !in->is_boolean())
    throw Error(ErrorKind::kCorrupt, "{}: edge \"{}\" lacks \"in_graph\", true or false", where, printable(name));
  out.in_graph = in->get<bool>();
  const auto score = value.find("score");
  if (score == value.end() || score->is_null()) return out;
  if (!score->is_number() || !std::isfinite(score->get<double>()))
    throw Error(ErrorKind::kCorrupt, "{}: the score of edge \"{}\" is not a number", where, printable(name));
  out.score = score->get<double>();
  return out;
}

}  // namespace

bool is_eap_ig(const Json& json) { return json.is_object() && json.contains("cfg") && json.contains("edges"); }

ImportedCircuit read_eap_ig(const Json& json, const std::string& where, const Graph& graph) {
  MT_CHECK(!graph.by_position());
  if (!is_eap_ig(json) || !json["edges"].is_object())
    throw Error(ErrorKind::kCorrupt, "{}: not EAP-IG's graph JSON: expected an object with \"cfg\" and an object \"edges\"",
                where);
  check_config(json["cfg"], where, graph);
  ImportedCircuit out{"eap-ig", EdgeMask(graph.n_edges(), 0), std::vector<double>(graph.n_edges(), 0.0), false};
  for (const auto& [name, value] : json["edges"].items()) {
    const size_t arrow = name.find("->");
    const auto from = arrow == std::string::npos ? std::nullopt : parse_name(std::string_view(name).substr(0, arrow));
    const auto to = arrow == std::string::npos ? std::nullopt : parse_name(std::string_view(name).substr(arrow + 2));
    const auto receiver = to ? receiver_of(*to) : std::nullopt;
    if (!from || from->slot != 0 || !receiver)
      throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is no edge; expected as in \"m3->a5.h1<k>\"", where, printable(name));
    const EdgeValue v = edge_value(value, where, name);
    const int64_t edge = formats_internal::edge_of(graph, from->node, *receiver);
    // The tool lists MLPs of attention-only models too; what is not in the circuit may be of any shape.
    if (edge < 0 && !v.in_graph) continue;
    if (edge < 0)
      throw Error(ErrorKind::kInvalidArgument, "{}: this model has no edge \"{}\"; give the circuit's model", where,
                  printable(name));
    if (v.in_graph) out.mask[edge] = 1;
    if (v.score) out.scores[edge] += *v.score;
    out.scored = out.scored || v.score.has_value();
  }
  return out;
}

Json write_eap_ig(const Graph& graph, const EdgeMask& mask, std::span<const double> scores) {
  MT_CHECK(!graph.by_position());
  const Config& c = graph.config();
  std::vector<uint8_t> used(graph.n_sources(), 0);
  Json edges = Json::object();
  for (int64_t e = 0; e < graph.n_edges(); ++e) {
    const int64_t u = graph.ends(e).source;
    if (mask[e]) used[u] = 1;
    for (const FileEdge& f : file_edges(graph, e))
      edges[node_name(f.source) + "->" + receiver_name(f.receiver)] = {{"score", scores.empty() ? 0.0 : scores[e] * f.share},
                                                                       {"in_graph", mask[e] != 0}};
  }
  Json nodes = Json::object();
  for (int64_t u = 0; u < graph.n_sources(); ++u) nodes[node_name(graph.source(u))] = {{"in_graph", used[u] != 0}};
  nodes["logits"] = {{"in_graph", true}};
  return {{"cfg", {{"n_layers", c.n_layers}, {"n_heads", c.n_heads}, {"parallel_attn_mlp", c.parallel}, {"d_model", c.d_model}}},
          {"nodes", std::move(nodes)},
          {"edges", std::move(edges)}};
}

ImportedCircuit read_circuit_json(const Json& json, const std::string& where, const Graph& graph) {
  return is_eap_ig(json) ? read_eap_ig(json, where, graph) : read_auto_circuit(json, where, graph);
}

ImportedCircuit read_circuit_file(std::string_view text, const std::string& where, const Graph& graph) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  const bool json = first != std::string_view::npos && (text[first] == '{' || text[first] == '[');
  return read_circuit_json(json ? parse_json(text, where) : Json(std::string(text)), where, graph);
}

}  // namespace microtome
