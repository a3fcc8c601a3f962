#include "microtome/circuits/graph/acdc.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(std::max<size_t>(1, x.size()));
}

class Search {
 public:
  Search(CircuitRun& run, const Metric& metric, const Graph& graph, const AcdcOptions& options)
      : run_(run), metric_(metric), graph_(graph), options_(options) {}

  AcdcResult run() {
    const EdgeMask candidates = options_.candidates.empty() ? EdgeMask(graph_.n_edges(), 1) : options_.candidates;
    order_ = acdc_order(graph_, candidates);
    begin(candidates);
    count_outputs();
    const int64_t macs = run_.macs(), plain = run_.plain_macs();
    if (options_.progress) options_.progress->begin("ACDC", static_cast<double>(std::ssize(order_) - state_.next));
    while (state_.next < std::ssize(order_)) step();
    if (options_.progress) options_.progress->end();
    AcdcResult out{state_.circuit, state_.value, state_.tested, rows_, run_.macs() - macs, run_.plain_macs() - plain};
    // `plain` counts speculated rows too; a loop would not have run those.
    if (rows_ > 0)
      out.plain_macs = static_cast<int64_t>(static_cast<double>(out.plain_macs) / static_cast<double>(rows_) *
                                            static_cast<double>(state_.tested - tested_before_));
    return out;
  }

 private:
  void begin(const EdgeMask& candidates) {
    if (options_.resume) {
      state_ = *options_.resume;
      if (std::ssize(state_.circuit) != graph_.n_edges() || state_.next < 0 || state_.next > std::ssize(order_))
        throw Error(ErrorKind::kInvalidArgument,
                    "the state to go on from has {} edges at place {}, this search {} edges and {} places; start anew",
                    state_.circuit.size(), state_.next, graph_.n_edges(), order_.size());
    } else {
      state_.circuit = candidates;
      state_.value = values({&state_.circuit})[0];
    }
    tested_before_ = state_.tested;
  }

  // Circuits' metric, mean over examples.
  std::vector<double> values(const std::vector<const EdgeMask*>& circuits) {
    std::vector<double> out;
    for (const std::vector<double>& m : run_.metric(metric_, circuits)) out.push_back(mean(m));
    return out;
  }

  // Edges out of each source, by role; kept up to date as edges go.
  void count_outputs() {
    outputs_.assign(graph_.n_sources() * graph_.n_roles(), 0);
    for (int64_t e = 0; e < graph_.n_edges(); ++e)
      if (state_.circuit[e]) ++outputs_of(e);
  }
  int64_t& outputs_of(int64_t edge) {
    const EdgeEnds x = graph_.ends(edge);
    return outputs_[x.source * graph_.n_roles() + x.role];
  }

  // Some node of the edge's receiver still writes to something.
  bool feeds_something(int64_t edge) const {
    const EdgeEnds x = graph_.ends(edge);
    const Receiver& receiver = graph_.receiver(x.receiver);
    const bool any_role = receiver.kind == Receiver::Kind::kKey || receiver.kind == Receiver::Kind::kValue;
    for (const GraphNode& n : graph_.nodes_of(x.receiver)) {
      if (n.kind == GraphNode::Kind::kLogits) return true;
      const int64_t u = n.kind == GraphNode::Kind::kHead ? graph_.head_source(n.layer, n.head) : graph_.mlp_source(n.layer);
      for (int64_t r = 0; r < graph_.n_roles(); ++r)
        if ((any_role || r == x.role) && outputs_[u * graph_.n_roles() + r] > 0) return true;
    }
    return false;
  }

  // Receivers with as many sources read the same ones: their nodes write to none of each other's.
  bool same_group(int64_t a, int64_t b) const {
    return graph_.sources_of(graph_.ends(a).receiver) == graph_.sources_of(graph_.ends(b).receiver);
  }

  void drop(int64_t edge) {
    state_.circuit[edge] = 0;
    --outputs_of(edge);
  }

  // Drops what needs no test; then a chain of tests.
  void step() {
    const int64_t before = state_.next;
    while (state_.next < std::ssize(order_) && !feeds_something(order_[state_.next])) drop(order_[state_.next++]);
    std::vector<int64_t> chain;
    int64_t at = state_.next;
    while (at < std::ssize(order_) && std::ssize(chain) < length_ && same_group(order_[state_.next], order_[at])) {
      if (!feeds_something(order_[at])) break;
      chain.push_back(order_[at++]);
    }
    if (!chain.empty()) test(chain);
    if (options_.progress) options_.progress->step(static_cast<double>(state_.next - before));
    if (options_.checkpoint) options_.checkpoint(state_);
  }

  void test(const std::vector<int64_t>& chain) {
    std::vector<EdgeMask> circuits(chain.size(), state_.circuit);
    std::vector<const EdgeMask*> pointers;
    for (size_t i = 0; i < chain.size(); ++i) {
      for (size_t j = 0; j <= i; ++j) circuits[i][chain[j]] = 0;
      pointers.push_back(&circuits[i]);
    }
    const std::vector<double> value = values(pointers);
    rows_ += std::ssize(chain);
    size_t taken = 0;
    while (taken < chain.size() && cost(value[taken], taken == 0 ? state_.value : value[taken - 1]) < options_.tau) ++taken;
    for (size_t i = 0; i < taken; ++i) drop(chain[i]);
    if (taken > 0) state_.value = value[taken - 1];
    const bool all = taken == chain.size();
    const int64_t decided = static_cast<int64_t>(taken) + (all ? 0 : 1);
    state_.next += decided;
    state_.tested += decided;
    // Long chains while all goes, short ones where edges stay.
    length_ = all ? std::min(options_.longest_chain, 2 * length_) : std::clamp<int64_t>(2 * decided, 1, options_.longest_chain);
  }

  double cost(double after, double before) const {
    if (options_.absolute) return std::abs(after - before);
    return metric_.falls() ? after - before : before - after;
  }

  CircuitRun& run_;
  const Metric& metric_;
  const Graph& graph_;
  const AcdcOptions& options_;
  std::vector<int64_t> order_, outputs_;
  AcdcState state_;
  int64_t length_ = 1, rows_ = 0, tested_before_ = 0;
};

}  // namespace

std::vector<int64_t> acdc_order(const Graph& graph, const EdgeMask& candidates) {
  std::vector<int64_t> order;
  for (int64_t v = graph.n_receivers(); v-- > 0;)
    for (int64_t role = graph.n_roles(); role-- > 0;)
      for (int64_t u = graph.sources_of(v); u-- > 0;)
        if (const int64_t e = graph.edge(u, v, role); candidates[e]) order.push_back(e);
  return order;
}

AcdcResult acdc(CircuitRun& run, const Metric& metric, const Graph& graph, const AcdcOptions& options) {
  if (!(options.tau >= 0)) throw Error(ErrorKind::kInvalidArgument, "tau is {}, expected a number of at least 0", options.tau);
  if (!options.candidates.empty() && std::ssize(options.candidates) != graph.n_edges())
    throw Error(ErrorKind::kInvalidArgument, "candidates are of a graph of {} edges, this one has {}", options.candidates.size(),
                graph.n_edges());
  MT_CHECK(options.longest_chain >= 1);
  return Search(run, metric, graph, options).run();
}

Json acdc_state_json(const AcdcState& state) {
  Json kept = Json::array();
  for (size_t e = 0; e < state.circuit.size(); ++e)
    if (state.circuit[e]) kept.push_back(e);
  return {{"next", state.next},
          {"value", state.value},
          {"tested", state.tested},
          {"edges", state.circuit.size()},
          {"kept", std::move(kept)}};
}

AcdcState acdc_state_from_json(const Json& json, const Graph& graph) {
  const auto whole = [&](const Json& x, int64_t most, const char* what) {
    if (!x.is_number_integer() || x < 0 || x > most)
      throw Error(ErrorKind::kCorrupt, "ACDC state: \"{}\" is not a whole number from 0 to {}", what, most);
    return x.get<int64_t>();
  };
  const auto field = [&](const char* name) -> const Json& {
    if (!json.is_object() || !json.contains(name)) throw Error(ErrorKind::kCorrupt, "ACDC state: \"{}\" is missing", name);
    return json[name];
  };
  AcdcState out{.circuit = EdgeMask(graph.n_edges(), 0)};
  if (const int64_t n = whole(field("edges"), INT64_MAX, "edges"); n != graph.n_edges())
    throw Error(ErrorKind::kInvalidArgument, "the ACDC state is of a graph of {} edges, this one has {}; start anew", n,
                graph.n_edges());
  out.next = whole(field("next"), graph.n_edges(), "next");
  out.tested = whole(field("tested"), graph.n_edges(), "tested");
  if (!field("value").is_number()) throw Error(ErrorKind::kCorrupt, "ACDC state: \"value\" is not a number");
  out.value = json["value"].get<double>();
  if (!field("kept").is_array()) throw Error(ErrorKind::kCorrupt, "ACDC state: \"kept\" is not a list");
  for (const Json& e : json["kept"]) out.circuit[whole(e, graph.n_edges() - 1, "kept")] = 1;
  return out;
}

}  // namespace microtome
