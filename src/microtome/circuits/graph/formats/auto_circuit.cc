#include <charconv>
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

// "Resid Start", "A5.1", "MLP 3".
std::optional<GraphNode> source_of(std::string_view name) {
  if (name == "Resid Start") return GraphNode{GraphNode::Kind::kInput};
  if (name.starts_with("MLP ")) {
    const auto layer = small_number(name.substr(4));
    return layer ? std::optional(GraphNode{GraphNode::Kind::kMlp, *layer}) : std::nullopt;
  }
  const size_t dot = name.find('.');
  if (!name.starts_with('A') || dot == std::string_view::npos) return {};
  const auto layer = small_number(name.substr(1, dot - 1)), head = small_number(name.substr(dot + 1));
  if (!layer || !head) return {};
  return GraphNode{GraphNode::Kind::kHead, *layer, *head};
}

// "A5.1.K"; "A5.1" is all three of a head; "MLP 3"; "Resid End". Empty: none of these.
std::vector<FileReceiver> receivers_of(std::string_view name) {
  using Kind = Receiver::Kind;
  if (name == "Resid End") return {{Kind::kLogits}};
  std::vector<Kind> kinds{Kind::kQuery, Kind::kKey, Kind::kValue};
  if (name.size() > 2 && name[name.size() - 2] == '.' && name.find('.') != name.size() - 2) {
    const char slot = name.back();
    if (slot == 'Q') kinds = {Kind::kQuery};
    else if (slot == 'K') kinds = {Kind::kKey};
    else if (slot == 'V') kinds = {Kind::kValue};
    else return {};
    name.remove_suffix(2);
  }
  const auto node = source_of(name);
  if (!node || node->kind == GraphNode::Kind::kInput) return {};
  if (node->kind == GraphNode::Kind::kMlp) return {{Kind::kMlp, node->layer}};
  std::vector<FileReceiver> out;
  for (const Kind kind : kinds) out.push_back({kind, node->layer, node->head});
  return out;
}

class Reader {
 public:
  Reader(const std::string& where, const Graph& graph)
      : where_(where),
        graph_(graph),
        out_{"auto-circuit", EdgeMask(graph.n_edges(), 0), std::vector<double>(graph.n_edges(), 0.0)} {}

  void add(std::string_view name, std::optional<double> score) {
    const size_t arrow = name.find("->");
    const auto source = arrow == std::string_view::npos ? std::nullopt : source_of(name.substr(0, arrow));
    const auto receivers = arrow == std::string_view::npos ? std::vector<FileReceiver>() : receivers_of(name.substr(arrow + 2));
    if (!source || receivers.empty())
      throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is no edge; expected as in \"A0.1->A5.1.K\" or \"Resid Start->MLP 3\"", where_,
                  printable(name));
    for (const FileReceiver& r : receivers) {
      const int64_t edge = formats_internal::edge_of(graph_, *source, r);
      if (edge < 0)
        throw Error(ErrorKind::kInvalidArgument, "{}: this model has no edge \"{}\"; give the circuit's model", where_,
                    printable(name));
      out_.mask[edge] = 1;
      if (score) out_.scores[edge] += *score / static_cast<double>(receivers.size());
    }
    out_.scored = out_.scored || score.has_value();
  }

  void add(const Json& list) {
    if (list.is_object()) {
      for (const auto& [name, score] : list.items()) {
        if (!score.is_null() && (!score.is_number() || !std::isfinite(score.get<double>())))
          throw Error(ErrorKind::kCorrupt, "{}: the score of \"{}\" is not a number", where_, printable(name));
        add(name, score.is_null() ? std::nullopt : std::optional(score.get<double>()));
      }
      return;
    }
    if (!list.is_array()) throw Error(ErrorKind::kCorrupt, "{}: neither a list of edges nor an object {{edge: score}}", where_);
    for (const Json& e : list) {
      if (!e.is_string()) throw Error(ErrorKind::kCorrupt, "{}: the list of edges holds something that is not a name", where_);
      add(e.get_ref<const std::string&>(), {});
    }
  }

  // "NAME [SCORE]": names hold spaces, so the score is what stands behind the last one, if it is a number of its own.
  void add_line(std::string_view line) {
    const size_t arrow = line.find("->");
    const size_t cut = line.find_last_of(" \t");
    const std::string_view receiver = arrow == std::string_view::npos ? "" : line.substr(arrow + 2);
    double score = 0;
    const bool whole = !receivers_of(receiver).empty();
    if (!whole && cut != std::string_view::npos && cut > arrow) {
      const std::string_view number = line.substr(cut + 1);
      const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), score);
      if (error == std::errc() && end == number.data() + number.size() && std::isfinite(score)) {
        const size_t last = line.find_last_not_of(" \t", cut);
        return add(line.substr(0, last + 1), score);
      }
    }
    add(line, {});
  }

  ImportedCircuit take() { return std::move(out_); }

 private:
  const std::string& where_;
  const Graph& graph_;
  ImportedCircuit out_;
};

std::string node_name(const GraphNode& n) {
  if (n.kind == GraphNode::Kind::kInput) return "Resid Start";
  if (n.kind == GraphNode::Kind::kMlp) return fmt::format("MLP {}", n.layer);
  return fmt::format("A{}.{}", n.layer, n.head);
}

std::string receiver_name(const FileReceiver& r) {
  switch (r.kind) {
    case Receiver::Kind::kLogits: return "Resid End";
    case Receiver::Kind::kMlp: return fmt::format("MLP {}", r.layer);
    case Receiver::Kind::kQuery: return fmt::format("A{}.{}.Q", r.layer, r.head);
    case Receiver::Kind::kKey: return fmt::format("A{}.{}.K", r.layer, r.head);
    case Receiver::Kind::kValue: return fmt::format("A{}.{}.V", r.layer, r.head);
  }
  return "";
}

}  // namespace

ImportedCircuit read_auto_circuit(const Json& json, const std::string& where, const Graph& graph) {
  MT_CHECK(!graph.by_position());
  Reader reader(where, graph);
  if (!json.is_string()) {
    reader.add(json.is_object() && json.contains("edges") ? json["edges"] : json);
    return reader.take();
  }
  const std::string_view text = json.get_ref<const std::string&>();
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos)
    throw Error(ErrorKind::kCorrupt, "{}: the file is empty", where);
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    begin = end + 1;
    while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '\t')) line.remove_suffix(1);
    if (!line.empty() && line[0] != '#') reader.add_line(line);
  }
  return reader.take();
}

Json write_auto_circuit(const Graph& graph, const EdgeMask& mask, std::span<const double> scores) {
  MT_CHECK(!graph.by_position());
  Json edges = Json::object();
  for (int64_t e = 0; e < graph.n_edges(); ++e)
    if (mask[e])
      for (const FileEdge& f : file_edges(graph, e))
        edges[node_name(f.source) + "->" + receiver_name(f.receiver)] = scores.empty() ? 0.0 : scores[e] * f.share;
  return edges;
}

}  // namespace microtome
