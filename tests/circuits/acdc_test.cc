// ACDC: chains decide what one test after another decides; a planted circuit is what is left.
#include "microtome/circuits/graph/acdc.h"

#include <array>
#include <numeric>

#include "graph_support.h"
#include "microtome/base/error.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

using namespace graph_support;

double mean_metric(CircuitRun& run, const Metric& metric, const EdgeMask& circuit) {
  const std::array<const EdgeMask*, 1> one{&circuit};
  const auto m = run.metric(metric, one)[0];
  return std::accumulate(m.begin(), m.end(), 0.0) / static_cast<double>(m.size());
}

// The algorithm as it is written: every candidate in turn, with nodes that have no output left found by pruning alone.
EdgeMask slow_acdc(CircuitRun& run, const Metric& metric, const Graph& graph, double tau) {
  EdgeMask circuit(graph.n_edges(), 1);
  double value = mean_metric(run, metric, circuit);
  for (const int64_t e : acdc_order(graph, circuit)) {
    EdgeMask without = circuit;
    without[e] = 0;
    const double after = mean_metric(run, metric, without);
    if ((metric.falls() ? after - value : value - after) >= tau) continue;
    circuit = without;
    value = after;
  }
  return circuit;
}

class AcdcFamilies : public testing::TestWithParam<const char*> {};

TEST_P(AcdcFamilies, chains_decide_what_single_tests_decide) {
  const auto model = golden_model(GetParam());
  const auto examples = pairs(*model, {6, 7});
  const Graph graph(model->config());
  for (const MetricKind kind : {MetricKind::kKl, MetricKind::kLogitDiff}) {
    const Metric metric(kind);
    CircuitRun run(*model, graph, examples, {});
    const double tau = kind == MetricKind::kKl ? 1e-4 : 1e-3;
    const AcdcResult one = acdc(run, metric, graph, {.tau = tau, .longest_chain = 1});
    const AcdcResult many = acdc(run, metric, graph, {.tau = tau, .longest_chain = 16});
    EXPECT_EQ(one.circuit, many.circuit);
    EXPECT_EQ(one.tested, many.tested);
    EXPECT_EQ(one.circuits_run, one.tested);
    EXPECT_NEAR(many.value, mean_metric(run, metric, many.circuit), 1e-5);
    EXPECT_GT(count_edges(many.circuit), 0);
    EXPECT_LT(count_edges(many.circuit), graph.n_edges());
    EXPECT_GE(many.circuits_run, many.tested);
  }
}
INSTANTIATE_TEST_SUITE_P(Acdc, AcdcFamilies, testing::Values("gpt2", "llama_gqa_tied", "neox_parallel", "attn_only_ln"));

TEST(Acdc, the_circuit_is_that_of_the_plain_loop) {
  const auto model = golden_model("attn_only_ln");
  const auto examples = pairs(*model, {6, 6});
  const Graph graph(model->config());
  const Metric metric(MetricKind::kKl);
  CircuitRun run(*model, graph, examples, {});
  // The loop drops edges into nodes without output too: they change nothing, and 0 < tau.
  EXPECT_EQ(acdc(run, metric, graph, {.tau = 1e-4}).circuit, slow_acdc(run, metric, graph, 1e-4));
}

// Logits are linear in the edges: one whose exact effect is large stays, the queries' (which do nothing) all go.
TEST(Acdc, what_matters_stays_and_what_does_nothing_goes) {
  const auto model = linear_model(2);
  const auto examples = pairs(*model, {6});
  const Graph graph(model->config());
  const Metric metric(MetricKind::kKl);
  CircuitRun run(*model, graph, examples, {});
  const AcdcResult r = acdc(run, metric, graph, {.tau = 1e-3});
  for (int64_t v = 0; v < graph.n_receivers(); ++v) {
    const auto kind = graph.receiver(v).kind;
    for (int64_t u = 0; u < graph.sources_of(v); ++u)
      if (kind == Receiver::Kind::kQuery || kind == Receiver::Kind::kKey) {
        EXPECT_EQ(r.circuit[graph.edge(u, v)], 0) << graph.edge_name(graph.edge(u, v));
      }
  }
  EXPECT_EQ(prune(graph, r.circuit), r.circuit);
  EXPECT_LT(r.value, 1e-3 * static_cast<double>(graph.n_edges()));
  EdgeMask all(graph.n_edges(), 1), none(graph.n_edges(), 0);
  EXPECT_LT(r.value, mean_metric(run, metric, none));
}

TEST(Acdc, an_endless_tau_leaves_nothing_and_none_keeps_every_edge_that_hurts) {
  const auto model = golden_model("attn_only_ln");
  const auto examples = pairs(*model, {6});
  const Graph graph(model->config());
  const Metric metric(MetricKind::kKl);
  CircuitRun run(*model, graph, examples, {});
  EXPECT_EQ(count_edges(acdc(run, metric, graph, {.tau = 1e9}).circuit), 0);
  EXPECT_GT(count_edges(acdc(run, metric, graph, {.tau = 0}).circuit),
            count_edges(acdc(run, metric, graph, {.tau = 1e-2}).circuit));
}

TEST(Acdc, only_candidates_are_in_the_circuit) {
  const auto model = golden_model("gpt2");
  const auto examples = pairs(*model, {6});
  const Graph graph(model->config());
  CircuitRun run(*model, graph, examples, {});
  const EdgeMask candidates = random_mask(graph, .3, 3);
  const AcdcResult r = acdc(run, Metric(MetricKind::kKl), graph, {.tau = 1e-4, .candidates = candidates});
  for (int64_t e = 0; e < graph.n_edges(); ++e) EXPECT_LE(r.circuit[e], candidates[e]);
}

TEST(Acdc, edges_by_role_are_decided_too) {
  const auto model = golden_model("attn_only_ln");
  const auto examples = pairs(*model, {6, 7});
  const Graph graph(model->config(), {.roles = position_roles(examples)});
  CircuitRun run(*model, graph, examples, {});
  const Metric metric(MetricKind::kKl);
  const AcdcResult r = acdc(run, metric, graph, {.tau = 1e-3});
  EXPECT_NEAR(r.value, mean_metric(run, metric, r.circuit), 1e-5);
  EXPECT_EQ(r.circuit, acdc(run, metric, graph, {.tau = 1e-3, .longest_chain = 1}).circuit);
}

TEST(Acdc, a_stopped_search_goes_on_to_the_same_end) {
  const auto model = golden_model("attn_only_ln");
  const auto examples = pairs(*model, {6, 7});
  const Graph graph(model->config());
  const Metric metric(MetricKind::kKl);
  CircuitRun run(*model, graph, examples, {});
  std::vector<AcdcState> states;
  const AcdcResult whole =
      acdc(run, metric, graph, {.tau = 1e-4, .checkpoint = [&](const AcdcState& s) { states.push_back(s); }});
  ASSERT_GT(states.size(), 4u);
  for (const size_t i : {size_t{0}, states.size() / 2, states.size() - 1}) {
    const AcdcState saved = acdc_state_from_json(parse_json(dump_json(acdc_state_json(states[i])), "state"), graph);
    EXPECT_EQ(saved.circuit, states[i].circuit);
    const AcdcResult rest = acdc(run, metric, graph, {.tau = 1e-4, .resume = saved});
    EXPECT_EQ(rest.circuit, whole.circuit);
    EXPECT_EQ(rest.tested, whole.tested);
  }
}

TEST(Acdc, states_and_options_that_fit_nothing_are_refused) {
  const auto model = golden_model("attn_only_ln");
  const auto examples = pairs(*model, {6});
  const Graph graph(model->config());
  CircuitRun run(*model, graph, examples, {});
  const Metric metric(MetricKind::kKl);
  EXPECT_THROW(acdc(run, metric, graph, {.tau = -1}), Error);
  EXPECT_THROW(acdc(run, metric, graph, {.tau = NAN}), Error);
  EXPECT_THROW(acdc(run, metric, graph, {.candidates = EdgeMask(3, 1)}), Error);
  EXPECT_THROW(acdc(run, metric, graph, {.resume = AcdcState{.circuit = EdgeMask(3, 1)}}), Error);
  for (const char* bad : {"{}", "[]", R"({"edges": 3, "next": 0, "tested": 0, "value": 0, "kept": []})"})
    EXPECT_THROW(acdc_state_from_json(parse_json(bad, "state"), graph), Error) << bad;
  const auto with = [&](const std::string& rest) {
    return parse_json(fmt::format("{{\"edges\": {}, {}}}", graph.n_edges(), rest), "state");
  };
  EXPECT_NO_THROW(acdc_state_from_json(with(R"("next": 0, "tested": 0, "value": 0, "kept": [0])"), graph));
  for (const char* bad :
       {R"("next": -1, "tested": 0, "value": 0, "kept": [])", R"("next": 0, "tested": 0, "value": "x", "kept": [])",
        R"("next": 0, "tested": 0, "value": 0, "kept": [99999999])", R"("next": 0, "tested": 0, "value": 0, "kept": {})",
        R"("next": 0.5, "tested": 0, "value": 0, "kept": [])"})
    EXPECT_THROW(acdc_state_from_json(with(bad), graph), Error) << bad;
}

}  // namespace
}  // namespace microtome
