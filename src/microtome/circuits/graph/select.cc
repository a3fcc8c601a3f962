#include "microtome/circuits/graph/select.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <queue>

#include "microtome/base/rng.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

double size_of(double score, bool by_sign) { return by_sign ? score : std::abs(score); }

// Whether an edge into `v` is an edge into node `u` by role: queries and MLPs of that role only, keys and values of any.
bool any_role(const Receiver& r) { return r.kind == Receiver::Kind::kKey || r.kind == Receiver::Kind::kValue; }

// Number of the source that a node is; the logits have none (-1).
int64_t source_of(const Graph& graph, const GraphNode& n) {
  switch (n.kind) {
    case GraphNode::Kind::kInput: return 0;
    case GraphNode::Kind::kHead: return graph.head_source(n.layer, n.head);
    case GraphNode::Kind::kMlp: return graph.mlp_source(n.layer);
    case GraphNode::Kind::kLogits: return -1;
  }
  return -1;
}

// Calls fn(receiver, role) for everything that feeds the output of source u at a role.
template <class Fn>
void each_input(const Graph& graph, int64_t u, int64_t role, Fn&& fn) {
  const GraphNode n = graph.source(u);
  if (n.kind == GraphNode::Kind::kMlp) fn(graph.mlp_receiver(n.layer), role);
  if (n.kind != GraphNode::Kind::kHead) return;
  fn(graph.query_receiver(n.layer, n.head), role);
  const int64_t kv = n.head * graph.kv_heads() / graph.config().n_heads;
  for (int64_t r = 0; r < graph.n_roles(); ++r) {
    fn(graph.key_receiver(n.layer, kv), r);
    fn(graph.value_receiver(n.layer, kv), r);
  }
}

}  // namespace

std::vector<int64_t> ranked_edges(std::span<const double> scores, bool by_sign) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return size_of(scores[a], by_sign) > size_of(scores[b], by_sign); });
  return order;
}

EdgeMask select_top(std::span<const double> scores, int64_t n, bool by_sign) {
  EdgeMask mask(scores.size(), 0);
  const std::vector<int64_t> order = ranked_edges(scores, by_sign);
  for (int64_t i = 0; i < std::min<int64_t>(n, std::ssize(order)); ++i) mask[order[i]] = 1;
  return mask;
}

EdgeMask select_threshold(std::span<const double> scores, double threshold, bool by_sign) {
  EdgeMask mask(scores.size(), 0);
  for (size_t e = 0; e < scores.size(); ++e) mask[e] = size_of(scores[e], by_sign) >= threshold;
  return mask;
}

EdgeMask select_greedy(const Graph& graph, std::span<const double> scores, int64_t n, bool by_sign) {
  struct Candidate {
    double size;
    int64_t edge;
    bool operator<(const Candidate& o) const { return size != o.size ? size < o.size : edge > o.edge; }
  };
  EdgeMask mask(scores.size(), 0);
  std::priority_queue<Candidate> open;
  std::vector<uint8_t> reached(graph.n_receivers() * graph.n_roles(), 0), inside(graph.n_sources() * graph.n_roles(), 0);
  const auto reach = [&](int64_t v, int64_t role) {
    uint8_t& seen = reached[v * graph.n_roles() + role];
    if (seen) return;
    seen = 1;
    for (int64_t u = 0; u < graph.sources_of(v); ++u) {
      const int64_t e = graph.edge(u, v, role);
      open.push({size_of(scores[e], by_sign), e});
    }
  };
  for (int64_t role = 0; role < graph.n_roles(); ++role) reach(graph.logits_receiver(), role);
  for (int64_t taken = 0; taken < n && !open.empty();) {
    const int64_t edge = open.top().edge;
    open.pop();
    mask[edge] = 1;
    ++taken;
    const EdgeEnds e = graph.ends(edge);
    uint8_t& seen = inside[e.source * graph.n_roles() + e.role];
    if (seen) continue;
    seen = 1;
    each_input(graph, e.source, e.role, reach);
  }
  return mask;
}

Bootstrapped select_bootstrap(std::span<const float> per_example, int64_t n_examples, int64_t n_edges, int64_t n, uint64_t seed,
                              int64_t draws) {
  n = std::min(n, n_edges);
  const Philox rng(seed, "circuit bootstrap");
  std::vector<std::vector<float>> counts(draws, std::vector<float>(n_edges, 0));
  parallel_for(draws, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> mean(n_edges);
    for (int64_t d = begin; d < end; ++d) {
      std::fill(mean.begin(), mean.end(), 0.0);
      for (int64_t i = 0; i < n_examples; ++i) {
        const float* row = per_example.data() + static_cast<int64_t>(rng.below(n_examples, i, d)) * n_edges;
        for (int64_t e = 0; e < n_edges; ++e) mean[e] += row[e];
      }
      const std::vector<int64_t> order = ranked_edges(mean);
      for (int64_t i = 0; i < n; ++i) counts[d][order[i]] = 1;
    }
  });
  Bootstrapped out{EdgeMask(n_edges, 0), std::vector<float>(n_edges, 0)};
  std::vector<double> mean(n_edges, 0);
  for (int64_t d = 0; d < draws; ++d)
    for (int64_t e = 0; e < n_edges; ++e) out.share[e] += counts[d][e] / static_cast<float>(draws);
  for (int64_t i = 0; i < n_examples; ++i)
    for (int64_t e = 0; e < n_edges; ++e) mean[e] += per_example[i * n_edges + e];
  std::vector<int64_t> order = ranked_edges(mean);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return out.share[a] > out.share[b]; });
  for (int64_t i = 0; i < n; ++i) out.mask[order[i]] = 1;
  return out;
}

EdgeMask select_nodes(const Graph& graph, std::span<const double> node, int64_t n, bool by_sign) {
  const std::vector<int64_t> order = ranked_edges(node, by_sign);
  std::vector<uint8_t> chosen(node.size(), 0);
  for (int64_t i = 0; i < std::min<int64_t>(n, std::ssize(order)); ++i) chosen[order[i]] = 1;
  const int64_t roles = graph.n_roles();
  for (int64_t r = 0; r < roles; ++r) chosen[r] = 1;  // the input
  const auto reads = [&](const EdgeEnds& x) {
    for (const GraphNode& n : graph.nodes_of(x.receiver)) {
      if (n.kind == GraphNode::Kind::kLogits) return true;
      const int64_t u = n.kind == GraphNode::Kind::kMlp ? graph.mlp_source(n.layer) : graph.head_source(n.layer, n.head);
      const bool any = graph.receiver(x.receiver).kind != Receiver::Kind::kQuery && n.kind == GraphNode::Kind::kHead;
      for (int64_t r = 0; r < roles; ++r)
        if ((any || r == x.role) && chosen[u * roles + r]) return true;
    }
    return false;
  };
  EdgeMask mask(graph.n_edges(), 0);
  for (int64_t e = 0; e < graph.n_edges(); ++e) {
    const EdgeEnds x = graph.ends(e);
    mask[e] = chosen[x.source * roles + x.role] && reads(x);
  }
  return prune(graph, std::move(mask));
}

// `report` gets what the selection says of itself.

EdgeMask prune(const Graph& graph, EdgeMask mask) {
  const int64_t roles = graph.n_roles();
  const auto key = [&](int64_t x, int64_t role) { return x * roles + role; };
  // Edges into each receiver and out of each source, by role.
  std::vector<int64_t> in(graph.n_receivers() * roles, 0), out(graph.n_sources() * roles, 0), members;
  for (int64_t e = 0; e < std::ssize(mask); ++e) {
    if (!mask[e]) continue;
    members.push_back(e);
    const EdgeEnds x = graph.ends(e);
    ++in[key(x.receiver, x.role)];
    ++out[key(x.source, x.role)];
  }
  const auto has_input = [&](int64_t u, int64_t role) {
    bool any = u == 0;
    each_input(graph, u, role, [&](int64_t v, int64_t r) { any = any || in[key(v, r)] > 0; });
    return any;
  };
  const auto has_output = [&](int64_t v, int64_t role) {
    const Receiver& receiver = graph.receiver(v);
    for (const GraphNode& n : graph.nodes_of(v)) {
      const int64_t u = source_of(graph, n);
      if (u < 0) return true;
      for (int64_t r = 0; r < roles; ++r)
        if ((r == role || any_role(receiver)) && out[key(u, r)] > 0) return true;
    }
    return false;
  };
  for (bool changed = true; changed;) {
    changed = false;
    std::vector<int64_t> kept;
    for (const int64_t e : members) {
      const EdgeEnds x = graph.ends(e);
      if (has_input(x.source, x.role) && has_output(x.receiver, x.role)) {
        kept.push_back(e);
        continue;
      }
      mask[e] = 0;
      --in[key(x.receiver, x.role)];
      --out[key(x.source, x.role)];
      changed = true;
    }
    members = std::move(kept);
  }
  return mask;
}

int64_t count_edges(const EdgeMask& mask) { return std::accumulate(mask.begin(), mask.end(), int64_t{0}); }

std::vector<std::string> circuit_nodes(const Graph& graph, const EdgeMask& mask) {
  const int64_t roles = graph.n_roles();
  std::vector<uint8_t> source(graph.n_sources() * roles, 0), logits(roles, 0);
  for (int64_t e = 0; e < std::ssize(mask); ++e) {
    if (!mask[e]) continue;
    const EdgeEnds x = graph.ends(e);
    source[x.source * roles + x.role] = 1;
    const Receiver& r = graph.receiver(x.receiver);
    if (r.kind == Receiver::Kind::kLogits) logits[x.role] = 1;
    if (r.kind == Receiver::Kind::kQuery || r.kind == Receiver::Kind::kMlp)
      source[source_of(graph, graph.nodes_of(x.receiver)[0]) * roles + x.role] = 1;
  }
  std::vector<std::string> names;
  for (int64_t u = 0; u < graph.n_sources(); ++u)
    for (int64_t r = 0; r < roles; ++r)
      if (source[u * roles + r]) names.push_back(graph.source_name(u, r));
  for (int64_t r = 0; r < roles; ++r)
    if (logits[r]) names.push_back(graph.receiver_name(graph.logits_receiver(), r));
  return names;
}

}  // namespace microtome
