// Graph: the model as sources that write into the residual stream, receivers that read it, and the edges between them.
//
//   Graph graph(model.config());                        // the default model: 301 sources, 511 receivers, 70,651 edges
//   int64_t e = graph.edge(graph.find_source("m3"), graph.find_receiver("a5.h1<k>"));
//   graph.edge_name(e);                                 // "m3->a5.h1<k>"
//   Graph by_role(model.config(), {.roles = {"S1", "S1+", "S2"}}); // the same, once for each role of positions:
//   "m3@S1->a5.h1<k>@S1"
//
// Sources: the input (resid_pre of block 0), each head's output z W_O, each MLP's output; b_O belongs to none. Receivers: the
// stream before the norm, as each head's query, each key/value head's key and value, each MLP and the logits read it. A
// receiver reads every source that comes before it, which in the order below are the first sources_of(v) ones. Edges are
// numbered role by role, receiver by receiver, source by source. Circuits specification, section 8. Immutable.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/circuits/example.h"
#include "microtome/model/config.h"

namespace microtome {

struct GraphNode {
  enum class Kind : uint8_t { kInput, kHead, kMlp, kLogits } kind = Kind::kInput;
  int layer = -1, head = -1;
  auto operator<=>(const GraphNode&) const = default;
};

struct Receiver {
  enum class Kind : uint8_t { kQuery, kKey, kValue, kMlp, kLogits } kind = Kind::kQuery;
  int layer = -1;
  int head = -1;  // of queries: the head; of keys and values: the key/value head (ungrouped: the head)
  auto operator<=>(const Receiver&) const = default;
};

struct EdgeEnds {
  int64_t source = 0, receiver = 0, role = 0;
};

// One flag for each edge of a graph.
using EdgeMask = std::vector<uint8_t>;

struct GraphOptions {
  std::vector<std::string> roles;  // empty: edges are not resolved by position
  // Keys and values counted per query head, as public circuits of grouped models do; such a graph can be counted and read, not
  // run.
  bool ungrouped = false;
};

class Graph {
 public:
  explicit Graph(const Config& config, GraphOptions options = {});

  int64_t n_layers() const { return config_.n_layers; }
  const Config& config() const { return config_; }

  // --- sources: input; then of each layer its heads, its MLP ---
  int64_t n_sources() const { return 1 + config_.n_layers * per_layer(); }
  int64_t head_source(int64_t layer, int64_t head) const { return 1 + layer * per_layer() + head; }
  int64_t mlp_source(int64_t layer) const { return head_source(layer, config_.n_heads); }
  GraphNode source(int64_t u) const;

  // --- receivers: of each layer its queries, keys, values, its MLP; then the logits ---
  int64_t n_receivers() const { return static_cast<int64_t>(receivers_.size()); }
  const Receiver& receiver(int64_t v) const { return receivers_[v]; }
  int64_t first_receiver(int64_t layer) const { return layer * receivers_per_layer(); }
  int64_t query_receiver(int64_t layer, int64_t head) const { return first_receiver(layer) + head; }
  int64_t key_receiver(int64_t layer, int64_t head) const { return first_receiver(layer) + config_.n_heads + head; }
  int64_t value_receiver(int64_t layer, int64_t head) const { return key_receiver(layer, head) + kv_heads(); }
  int64_t mlp_receiver(int64_t layer) const { return value_receiver(layer, kv_heads()); }
  int64_t logits_receiver() const { return n_receivers() - 1; }
  int64_t kv_heads() const { return ungrouped_ ? config_.n_heads : config_.n_kv_heads; }
  // The sources 0 .. sources_of(v) - 1 are those that v can read.
  int64_t sources_of(int64_t v) const { return n_inputs_[v]; }
  // The node that a receiver belongs to; keys and values of a group belong to all heads of it.
  std::vector<GraphNode> nodes_of(int64_t v) const;

  // --- edges ---
  const std::vector<std::string>& roles() const { return roles_; }
  bool by_position() const { return !roles_.empty(); }
  int64_t n_roles() const { return roles_.empty() ? 1 : static_cast<int64_t>(roles_.size()); }
  int64_t edges_per_role() const { return offset_.back(); }
  int64_t n_edges() const { return n_roles() * edges_per_role(); }
  int64_t edge(int64_t source, int64_t receiver, int64_t role = 0) const {
    return role * edges_per_role() + offset_[receiver] + source;
  }
  // The edge of source 0 into a receiver; those of the next sources follow.
  int64_t first_edge(int64_t receiver, int64_t role = 0) const { return edge(0, receiver, role); }
  EdgeEnds ends(int64_t edge) const;

  // --- names: input, a5.h1, m5, logits; a5.h1<q>, a5.h0<k>, a5.h0<v>; with @role where resolved by position ---
  std::string source_name(int64_t u, int64_t role = 0) const;
  std::string receiver_name(int64_t v, int64_t role = 0) const;
  std::string edge_name(int64_t edge) const;
  // -1 for a name that this graph does not have. find_edge also wants the source before the receiver and the roles equal.
  int64_t find_source(std::string_view name) const;
  int64_t find_receiver(std::string_view name) const;
  int64_t find_edge(std::string_view from, std::string_view to) const;

 private:
  int64_t per_layer() const { return config_.n_heads + (config_.mlp ? 1 : 0); }
  int64_t receivers_per_layer() const { return config_.n_heads + 2 * kv_heads() + (config_.mlp ? 1 : 0); }
  // Cuts "@role" off; -1 for one that there is not.
  int64_t role_of(std::string_view& name) const;

  Config config_;
  bool ungrouped_;
  std::vector<std::string> roles_;
  std::vector<Receiver> receivers_;
  std::vector<int64_t> n_inputs_, offset_;
};

// The roles of examples that name positions, aligned across templates: each named position is a role of its own, "S2"; those
// after it, up to the next named one, are "S2+"; those before the first are "start". Examples that name none, but are all
// equally long: each position is a role, "0", "1", ... Throws InvalidArgument where neither holds.
std::vector<std::string> position_roles(const std::vector<Example>& examples);

// For each position of the example the number of its role among the graph's; all 0 where it is not resolved by position.
// Throws InvalidArgument for a position whose role the graph does not have.
std::vector<int32_t> role_of_positions(const Graph& graph, const Example& example);

}  // namespace microtome
