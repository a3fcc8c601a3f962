#include "microtome/circuits/graph/graph.h"

#include <algorithm>

#include "graph_support.h"
#include "microtome/base/error.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

using namespace graph_support;

Config config_of(int64_t layers, int64_t heads, int64_t kv_heads, bool mlp = true, bool parallel = false) {
  Config c;
  c.n_layers = layers;
  c.n_heads = heads;
  c.n_kv_heads = kv_heads;
  c.mlp = mlp;
  c.parallel = parallel;
  return c;
}

TEST(Graph, counts_edges_by_the_formula) {
  const Graph gpt2(config_of(12, 12, 12));
  EXPECT_EQ(gpt2.n_sources(), 157);
  EXPECT_EQ(gpt2.n_edges(), 32491);
  const Graph smollm(config_of(30, 9, 3));
  EXPECT_EQ(smollm.n_sources(), 301);
  EXPECT_EQ(smollm.n_edges(), 70651);
  EXPECT_EQ(Graph(config_of(30, 9, 3), {.ungrouped = true}).n_edges(), 123211);
  EXPECT_EQ(Graph(config_of(2, 12, 12, false)).n_edges(), 529);
  // Parallel blocks: an MLP does not read the heads of its own layer.
  EXPECT_EQ(Graph(config_of(12, 12, 12, true, true)).n_edges(), 32491 - 12 * 12);
  EXPECT_EQ(Graph(config_of(12, 12, 12), {.roles = {"a", "b"}}).n_edges(), 2 * 32491);
}

TEST(Graph, edges_ends_and_names_agree) {
  for (const bool mlp : {true, false}) {
    const Graph graph(config_of(3, 4, 2, mlp), {.roles = {"S1", "S1+", "END"}});
    for (int64_t e = 0; e < graph.n_edges(); ++e) {
      const EdgeEnds x = graph.ends(e);
      ASSERT_LT(x.source, graph.sources_of(x.receiver));
      ASSERT_EQ(graph.edge(x.source, x.receiver, x.role), e);
      ASSERT_EQ(graph.find_edge(graph.source_name(x.source, x.role), graph.receiver_name(x.receiver, x.role)), e);
    }
  }
  const Graph graph(config_of(3, 4, 2));
  EXPECT_EQ(graph.edge_name(graph.edge(graph.head_source(0, 3), graph.key_receiver(2, 1))), "a0.h3->a2.h1<k>");
  EXPECT_EQ(graph.edge_name(graph.edge(0, graph.logits_receiver())), "input->logits");
}

TEST(Graph, refuses_names_that_it_does_not_have) {
  const Graph graph(config_of(3, 4, 2)), by_role(config_of(3, 4, 2), {.roles = {"S"}});
  for (const char* name : {"", "a", "a0", "a0.h", "a0.h4", "a3.h0", "m3", "m", "m-1", "a0.h0x", "input ", "logits", "a0.h0@S"})
    EXPECT_EQ(graph.find_source(name), -1) << name;
  for (const char* name : {"", "input", "a0.h0", "a0.h0<o>", "a0.h2<k>", "a0.h4<q>", "m3", "a3.h0<q>", "a0.h0<q>x"})
    EXPECT_EQ(graph.find_receiver(name), -1) << name;
  EXPECT_EQ(by_role.find_source("m1"), -1);
  EXPECT_EQ(by_role.find_source("m1@T"), -1);
  EXPECT_GE(by_role.find_source("m1@S"), 0);
  EXPECT_EQ(graph.find_edge("m1", "a1.h0<q>"), -1);  // behind its reader
  EXPECT_EQ(graph.find_edge("m1", "m1"), -1);
}

TEST(Graph, roles_are_named_positions_and_what_follows_them) {
  Example a, b;
  a.clean = a.corrupted = {1, 2, 3, 4, 5, 6};
  a.positions = {{"S", 2}, {"END", 5}};
  b.clean = b.corrupted = {1, 2, 3, 4};
  b.positions = {{"S", 1}, {"END", 3}};
  const std::vector<Example> examples{a, b};
  EXPECT_EQ(position_roles(examples), (std::vector<std::string>{"start", "S", "S+", "END"}));
  const Graph graph(config_of(1, 1, 1), {.roles = position_roles(examples)});
  EXPECT_EQ(role_of_positions(graph, a), (std::vector<int32_t>{0, 0, 1, 2, 2, 3}));
  EXPECT_EQ(role_of_positions(graph, b), (std::vector<int32_t>{0, 1, 2, 3}));
  b.positions["X"] = 2;
  EXPECT_THROW(role_of_positions(graph, b), Error);

  a.positions.clear();
  b.positions.clear();
  EXPECT_EQ(position_roles({a, a}).size(), 6u);
  EXPECT_THROW(position_roles({a, b}), Error);
}

TEST(Select, prunes_what_has_no_input_or_no_output) {
  const Graph graph(config_of(3, 2, 1));
  EdgeMask mask(graph.n_edges(), 0);
  const auto add = [&](const char* from, const char* to) { mask[graph.find_edge(from, to)] = 1; };
  add("input", "a0.h0<v>");  // key/value head 0 serves heads 0 and 1
  add("a0.h1", "m1");
  add("m1", "logits");
  const EdgeMask whole = mask;
  add("input", "a1.h0<q>");  // no output
  add("m0", "a2.h0<k>");     // m0 without input
  add("a2.h0", "logits");    // its only input goes with m0
  EXPECT_EQ(prune(graph, mask), whole);
  EXPECT_EQ(circuit_nodes(graph, whole), (std::vector<std::string>{"input", "a0.h1", "m1", "logits"}));
  EXPECT_EQ(count_edges(prune(graph, EdgeMask(graph.n_edges(), 1))), graph.n_edges());
}

TEST(Select, prunes_by_role_where_edges_are_resolved) {
  const Graph graph(config_of(2, 1, 1), {.roles = {"S", "END"}});
  EdgeMask mask(graph.n_edges(), 0);
  mask[graph.find_edge("input@S", "a0.h0<k>@S")] = 1;  // a key at S serves queries at END
  mask[graph.find_edge("a0.h0@END", "logits@END")] = 1;
  EXPECT_EQ(prune(graph, mask), mask);
  EdgeMask wrong = mask;
  wrong[graph.find_edge("input@S", "a0.h0<k>@S")] = 0;
  wrong[graph.find_edge("input@S", "a0.h0<q>@S")] = 1;  // a query at S does not
  EXPECT_EQ(count_edges(prune(graph, wrong)), 0);
}

TEST(Select, ranks_by_size_or_by_sign) {
  const std::vector<double> scores{1, -5, 3, 0, -2};
  EXPECT_EQ(select_top(scores, 2), (EdgeMask{0, 1, 1, 0, 0}));
  EXPECT_EQ(select_top(scores, 2, true), (EdgeMask{1, 0, 1, 0, 0}));
  EXPECT_EQ(select_threshold(scores, 2), (EdgeMask{0, 1, 1, 0, 1}));
  EXPECT_EQ(select_threshold(scores, 2, true), (EdgeMask{0, 0, 1, 0, 0}));
  EXPECT_EQ(select_top(scores, 99), (EdgeMask{1, 1, 1, 1, 1}));
}

TEST(Select, greedy_grows_from_the_logits) {
  const Graph graph(config_of(2, 1, 1));
  std::vector<double> scores(graph.n_edges(), 0.0);
  scores[graph.find_edge("input", "m0")] = 9;  // large, but m0 leads nowhere at first
  scores[graph.find_edge("m1", "logits")] = 3;
  scores[graph.find_edge("m0", "m1")] = 1;
  const EdgeMask two = select_greedy(graph, scores, 2);
  EXPECT_TRUE(two[graph.find_edge("m1", "logits")]);
  EXPECT_TRUE(two[graph.find_edge("m0", "m1")]);
  EXPECT_TRUE(select_greedy(graph, scores, 3)[graph.find_edge("input", "m0")]);
}

TEST(Select, nodes_keep_all_edges_among_them) {
  const Graph graph(config_of(2, 2, 1));
  std::vector<double> node(graph.n_sources(), 0.0);
  node[graph.head_source(0, 1)] = -3;
  node[graph.mlp_source(1)] = 2;
  node[graph.head_source(1, 0)] = 1;
  const EdgeMask two = select_nodes(graph, node, 2);
  EXPECT_EQ(circuit_nodes(graph, two), (std::vector<std::string>{"input", "a0.h1", "m1", "logits"}));
  // input to each of the head's three inputs, to m1 and to the logits; the head to m1 and the logits; m1 to the logits.
  EXPECT_EQ(count_edges(two), 3 + 2 + 2 + 1);
  EXPECT_EQ(circuit_nodes(graph, select_nodes(graph, node, 2, true)),
            (std::vector<std::string>{"input", "a1.h0", "m1", "logits"}));
}

TEST(Select, bootstrap_prefers_edges_that_every_prompt_agrees_on) {
  // Edge 0: 1 in all prompts. Edge 1: 9 in one of eight, so larger on average. The others: 0.
  constexpr int64_t kExamples = 8, kEdges = 6;
  std::vector<float> scores(kExamples * kEdges, 0.0f);
  for (int64_t i = 0; i < kExamples; ++i) scores[i * kEdges] = 1;
  scores[1] = 9;
  const Bootstrapped b = select_bootstrap(scores, kExamples, kEdges, 1, 0);
  EXPECT_EQ(count_edges(b.mask), 1);
  EXPECT_NEAR(b.share[0] + b.share[1], 1, 1e-4);
  EXPECT_NEAR(b.share[1], 1 - std::pow(7.0 / 8, 8), 0.1);  // drawn at least once
  EXPECT_FALSE(b.mask[2]);
}

}  // namespace
}  // namespace microtome
