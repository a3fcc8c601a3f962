#include "microtome/circuits/graph/graph.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr std::array<char, 3> kLetter{'q', 'k', 'v'};

// A whole number at the front of `text`, cut off; -1 for none.
int64_t take_number(std::string_view& text) {
  int64_t n = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc() || n < 0) return -1;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return n;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

// "a5.h1" at the front, cut off.
bool take_head(std::string_view& name, int64_t& layer, int64_t& head) {
  if (!take(name, "a")) return false;
  layer = take_number(name);
  if (layer < 0 || !take(name, ".h")) return false;
  head = take_number(name);
  return head >= 0;
}

}  // namespace

Graph::Graph(const Config& config, GraphOptions options)
    : config_(config), ungrouped_(options.ungrouped), roles_(std::move(options.roles)) {
  const auto add = [&](Receiver::Kind kind, int64_t layer, int64_t head, int64_t n_inputs) {
    receivers_.push_back({kind, static_cast<int>(layer), static_cast<int>(head)});
    n_inputs_.push_back(n_inputs);
  };
  for (int64_t l = 0; l < config.n_layers; ++l) {
    const int64_t below = head_source(l, 0);
    for (int64_t h = 0; h < config.n_heads; ++h) add(Receiver::Kind::kQuery, l, h, below);
    for (int64_t h = 0; h < kv_heads(); ++h) add(Receiver::Kind::kKey, l, h, below);
    for (int64_t h = 0; h < kv_heads(); ++h) add(Receiver::Kind::kValue, l, h, below);
    if (config.mlp) add(Receiver::Kind::kMlp, l, -1, below + (config.parallel ? 0 : config.n_heads));
  }
  add(Receiver::Kind::kLogits, -1, -1, n_sources());
  offset_.push_back(0);
  for (const int64_t n : n_inputs_) offset_.push_back(offset_.back() + n);
}

GraphNode Graph::source(int64_t u) const {
  if (u == 0) return {};
  const auto layer = static_cast<int>((u - 1) / per_layer()), at = static_cast<int>((u - 1) % per_layer());
  if (at == config_.n_heads) return {GraphNode::Kind::kMlp, layer, -1};
  return {GraphNode::Kind::kHead, layer, at};
}

std::vector<GraphNode> Graph::nodes_of(int64_t v) const {
  const Receiver& r = receivers_[v];
  switch (r.kind) {
    case Receiver::Kind::kQuery: return {{GraphNode::Kind::kHead, r.layer, r.head}};
    case Receiver::Kind::kMlp: return {{GraphNode::Kind::kMlp, r.layer, -1}};
    case Receiver::Kind::kLogits: return {{GraphNode::Kind::kLogits, -1, -1}};
    default: break;
  }
  std::vector<GraphNode> nodes;
  const auto group = static_cast<int>(config_.n_heads / kv_heads());
  for (int h = r.head * group; h < (r.head + 1) * group; ++h) nodes.push_back({GraphNode::Kind::kHead, r.layer, h});
  return nodes;
}

EdgeEnds Graph::ends(int64_t edge) const {
  const int64_t within = edge % edges_per_role();
  const int64_t v = std::upper_bound(offset_.begin(), offset_.end(), within) - offset_.begin() - 1;
  return {within - offset_[v], v, edge / edges_per_role()};
}

std::string Graph::source_name(int64_t u, int64_t role) const {
  const GraphNode n = source(u);
  const std::string at = roles_.empty() ? "" : "@" + roles_[role];
  if (n.kind == GraphNode::Kind::kInput) return "input" + at;
  if (n.kind == GraphNode::Kind::kMlp) return fmt::format("m{}{}", n.layer, at);
  return fmt::format("a{}.h{}{}", n.layer, n.head, at);
}

std::string Graph::receiver_name(int64_t v, int64_t role) const {
  const Receiver& r = receivers_[v];
  const std::string at = roles_.empty() ? "" : "@" + roles_[role];
  if (r.kind == Receiver::Kind::kLogits) return "logits" + at;
  if (r.kind == Receiver::Kind::kMlp) return fmt::format("m{}{}", r.layer, at);
  return fmt::format("a{}.h{}<{}>{}", r.layer, r.head, kLetter[static_cast<size_t>(r.kind)], at);
}

std::string Graph::edge_name(int64_t edge) const {
  const EdgeEnds e = ends(edge);
  return source_name(e.source, e.role) + "->" + receiver_name(e.receiver, e.role);
}

int64_t Graph::role_of(std::string_view& name) const {
  const size_t at = name.find('@');
  if (roles_.empty()) return at == std::string_view::npos ? 0 : -1;
  if (at == std::string_view::npos) return -1;
  const auto role = std::find(roles_.begin(), roles_.end(), name.substr(at + 1));
  name = name.substr(0, at);
  return role == roles_.end() ? -1 : role - roles_.begin();
}

int64_t Graph::find_source(std::string_view name) const {
  if (role_of(name) < 0) return -1;
  if (name == "input") return 0;
  int64_t layer = 0, head = 0;
  if (take_head(name, layer, head))
    return name.empty() && layer < config_.n_layers && head < config_.n_heads ? head_source(layer, head) : -1;
  if (!config_.mlp || !take(name, "m")) return -1;
  layer = take_number(name);
  return name.empty() && layer >= 0 && layer < config_.n_layers ? mlp_source(layer) : -1;
}

int64_t Graph::find_receiver(std::string_view name) const {
  if (role_of(name) < 0) return -1;
  if (name == "logits") return logits_receiver();
  int64_t layer = 0, head = 0;
  if (take_head(name, layer, head)) {
    if (layer >= config_.n_layers) return -1;
    if (name == "<q>") return head < config_.n_heads ? query_receiver(layer, head) : -1;
    if (head >= kv_heads()) return -1;
    if (name == "<k>") return key_receiver(layer, head);
    return name == "<v>" ? value_receiver(layer, head) : -1;
  }
  if (!config_.mlp || !take(name, "m")) return -1;
  layer = take_number(name);
  return name.empty() && layer >= 0 && layer < config_.n_layers ? mlp_receiver(layer) : -1;
}

int64_t Graph::find_edge(std::string_view from, std::string_view to) const {
  const int64_t u = find_source(from), v = find_receiver(to), role = role_of(from);
  if (u < 0 || v < 0 || u >= sources_of(v) || role_of(to) != role) return -1;
  return edge(u, v, role);
}

}  // namespace microtome
