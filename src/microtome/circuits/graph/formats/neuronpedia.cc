#include "microtome/circuits/graph/formats/neuronpedia.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "microtome/base/error.h"

namespace microtome {
namespace {

// A source at a role, or the logits (source -1, role of the answer).
using Place = std::pair<int64_t, int64_t>;

class Writer {
 public:
  Writer(const Graph& graph, const Example& example, const EdgeMask& mask, std::span<const double> scores,
         const NeuronpediaOptions& options)
      : graph_(graph), example_(example), mask_(mask), scores_(scores), options_(options) {
    position_.assign(graph.n_roles(), -1);
    const std::vector<int32_t> roles = role_of_positions(graph, example);
    for (size_t p = 0; p < roles.size(); ++p) position_[roles[p]] = static_cast<int64_t>(p);
  }

  Json write() {
    for (int64_t e = 0; e < graph_.n_edges(); ++e) {
      if (!mask_[e]) continue;
      const EdgeEnds x = graph_.ends(e);
      if (position_[x.role] >= 0) sources_.insert({x.source, x.role});
    }
    for (int64_t e = 0; e < graph_.n_edges(); ++e)
      if (mask_[e]) link(e);
    Json nodes = Json::array(), links = Json::array();
    for (const Place& p : used_) nodes.push_back(node(p));
    for (const auto& [ends, weight] : links_)
      links.push_back({{"source", id(ends.first)}, {"target", id(ends.second)}, {"weight", weight}});
    return {
        {"metadata",
         {{"slug", options_.slug},
          {"scan", options_.scan},
          {"transcoder_list", Json::array()},
          {"prompt_tokens", options_.tokens},
          {"prompt", options_.prompt},
          {"schema_version", 1},
          {"info", {{"generator", {{"name", "microtome"}}}}}}},
        {"qParams",
         {{"pinnedIds", Json::array()}, {"supernodes", Json::array()}, {"linkType", "both"}, {"clickedId", ""}, {"sg_pos", ""}}},
        {"nodes", std::move(nodes)},
        {"links", std::move(links)}};
  }

 private:
  void link(int64_t edge) {
    const EdgeEnds x = graph_.ends(edge);
    if (position_[x.role] < 0) return;
    const std::vector<Place> targets = targets_of(x);
    for (const Place& t : targets) {
      const Place from{x.source, x.role};
      used_.insert(from);
      used_.insert(t);
      links_[{from, t}] += (scores_.empty() ? 1.0 : scores_[edge]) / static_cast<double>(targets.size());
    }
  }

  std::vector<Place> targets_of(const EdgeEnds& x) const {
    const Receiver& r = graph_.receiver(x.receiver);
    if (r.kind == Receiver::Kind::kLogits) return {{-1, x.role}};
    const bool any_later = r.kind == Receiver::Kind::kKey || r.kind == Receiver::Kind::kValue;
    std::vector<Place> out;
    for (const GraphNode& n : graph_.nodes_of(x.receiver)) {
      const int64_t u = n.kind == GraphNode::Kind::kMlp ? graph_.mlp_source(n.layer) : graph_.head_source(n.layer, n.head);
      for (int64_t role = 0; role < graph_.n_roles(); ++role) {
        const bool here = any_later ? position_[role] >= position_[x.role] : role == x.role;
        if (here && sources_.contains({u, role})) out.push_back({u, role});
      }
    }
    return out;
  }

  // "LAYER_NUMBER_POS"; in jsNodeId a dash stands before the position.
  std::string layer_of(const Place& p) const {
    if (p.first < 0) return std::to_string(graph_.n_layers() + 1);
    const GraphNode n = graph_.source(p.first);
    return n.kind == GraphNode::Kind::kInput ? "E" : std::to_string(n.layer);
  }
  int64_t number_of(const Place& p) const {
    if (p.first < 0) return example_.answers[0];
    const GraphNode n = graph_.source(p.first);
    if (n.kind == GraphNode::Kind::kInput) return example_.clean[position_[p.second]];
    return n.kind == GraphNode::Kind::kHead ? n.head : graph_.config().n_heads;
  }
  std::string id(const Place& p) const { return fmt::format("{}_{}_{}", layer_of(p), number_of(p), position_[p.second]); }

  Json node(const Place& p) const {
    const bool logit = p.first < 0, input = p.first == 0;
    const int64_t position = position_[p.second];
    std::string type = "logit", label;
    if (logit) {
      label = fmt::format("Output \"{}\" (p={:.3f})", options_.answer, options_.answer_probability);
    } else if (input) {
      type = "embedding";
      label = position < std::ssize(options_.tokens) ? options_.tokens[position] : "";
    } else {
      type = graph_.source(p.first).kind == GraphNode::Kind::kHead ? "attention head" : "mlp";
      label = graph_.source_name(p.first, p.second);
    }
    return {{"node_id", id(p)},         {"feature", input ? position : number_of(p)},
            {"layer", layer_of(p)},     {"ctx_idx", position},
            {"feature_type", type},     {"token_prob", logit ? options_.answer_probability : 0.0},
            {"is_target_logit", logit}, {"run_idx", 0},
            {"reverse_ctx_idx", 0},     {"jsNodeId", fmt::format("{}_{}-{}", logit ? "L" : layer_of(p), number_of(p), position)},
            {"clerp", label},           {"influence", nullptr},
            {"activation", nullptr}};
  }

  const Graph& graph_;
  const Example& example_;
  const EdgeMask& mask_;
  std::span<const double> scores_;
  const NeuronpediaOptions& options_;
  std::vector<int64_t> position_;  // of each role; -1: the prompt has none
  std::set<Place> sources_, used_;
  std::map<std::pair<Place, Place>, double> links_;
};

}  // namespace

Json write_neuronpedia(const Graph& graph, const Example& example, const EdgeMask& mask, std::span<const double> scores,
                       const NeuronpediaOptions& options) {
  if (!graph.by_position())
    throw Error(ErrorKind::kInvalidArgument,
                "a graph for Neuronpedia is of one prompt and resolved by position; find the circuit with --positions");
  if (example.answers.empty())
    throw Error(ErrorKind::kInvalidArgument, "the example names no answer, whose logit the graph would end in; give --answer");
  MT_CHECK(std::ssize(mask) == graph.n_edges());
  return Writer(graph, example, mask, scores, options).write();
}

}  // namespace microtome
