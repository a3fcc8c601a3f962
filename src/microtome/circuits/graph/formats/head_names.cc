#include "microtome/circuits/graph/formats/head_names.h"

namespace microtome::formats_internal {
namespace {

bool per_kv_head(Receiver::Kind kind) { return kind == Receiver::Kind::kKey || kind == Receiver::Kind::kValue; }

}  // namespace

std::optional<int> small_number(std::string_view text) {
  if (text.empty() || text.size() > 6) return {};
  int out = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return {};
    out = 10 * out + (c - '0');
  }
  return out;
}

int64_t edge_of(const Graph& graph, const GraphNode& source, const FileReceiver& r) {
  const Config& c = graph.config();
  const auto in_layers = [&](int layer) { return layer >= 0 && layer < c.n_layers; };
  int64_t u = 0, v = graph.logits_receiver();
  if (source.kind == GraphNode::Kind::kHead) {
    if (!in_layers(source.layer) || source.head < 0 || source.head >= c.n_heads) return -1;
    u = graph.head_source(source.layer, source.head);
  } else if (source.kind == GraphNode::Kind::kMlp) {
    if (!in_layers(source.layer) || !c.mlp) return -1;
    u = graph.mlp_source(source.layer);
  } else if (source.kind == GraphNode::Kind::kLogits) {
    return -1;
  }
  if (r.kind == Receiver::Kind::kMlp) {
    if (!in_layers(r.layer) || !c.mlp) return -1;
    v = graph.mlp_receiver(r.layer);
  } else if (r.kind != Receiver::Kind::kLogits) {
    if (!in_layers(r.layer) || r.head < 0 || r.head >= c.n_heads) return -1;
    const int64_t kv = r.head * graph.kv_heads() / c.n_heads;
    v = r.kind == Receiver::Kind::kQuery ? graph.query_receiver(r.layer, r.head)
        : r.kind == Receiver::Kind::kKey ? graph.key_receiver(r.layer, kv)
                                         : graph.value_receiver(r.layer, kv);
  }
  return u < graph.sources_of(v) ? graph.edge(u, v) : -1;
}

std::vector<FileEdge> file_edges(const Graph& graph, int64_t edge) {
  const EdgeEnds x = graph.ends(edge);
  const Receiver& r = graph.receiver(x.receiver);
  if (!per_kv_head(r.kind)) return {{graph.source(x.source), {r.kind, r.layer, r.head}, 1}};
  const int64_t group = graph.config().n_heads / graph.kv_heads();
  std::vector<FileEdge> out;
  for (int64_t h = r.head * group; h < (r.head + 1) * group; ++h)
    out.push_back({graph.source(x.source), {r.kind, r.layer, static_cast<int>(h)}, 1 / static_cast<double>(group)});
  return out;
}

}  // namespace microtome::formats_internal
