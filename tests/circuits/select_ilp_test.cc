// Selection by integer program: the best circuit there is, found the slow way too, and never one with loose ends.
#include "microtome/circuits/graph/select_ilp.h"

#include "graph_support.h"
#include "microtome/base/error.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

using namespace graph_support;

std::vector<double> random_scores(const Graph& graph, uint64_t seed) {
  const Philox rng(seed, "ilp scores");
  std::vector<double> out;
  for (int64_t e = 0; e < graph.n_edges(); ++e) out.push_back(rng.normal(e) * std::exp(rng.normal(e, 1)));
  return out;
}

double total(const EdgeMask& mask, const std::vector<double>& scores) {
  double sum = 0;
  for (size_t e = 0; e < mask.size(); ++e) sum += mask[e] ? std::abs(scores[e]) : 0;
  return sum;
}

TEST(SelectIlp, circuits_have_no_loose_ends_and_are_no_worse_than_other_selections) {
  for (const char* family : kFamilies) {
    const Graph graph(golden_model(family)->config());
    for (const int64_t n : {3, 10, 40}) {
      const auto scores = random_scores(graph, static_cast<uint64_t>(n));
      const IlpSelection s = select_ilp(graph, scores, {.edges = n});
      EXPECT_TRUE(s.optimal) << family;
      EXPECT_EQ(s.gap, 0);
      EXPECT_LE(count_edges(s.mask), n);
      EXPECT_EQ(prune(graph, s.mask), s.mask) << family;
      EXPECT_NEAR(s.value, total(s.mask, scores), 1e-9);
      const EdgeMask greedy = prune(graph, select_greedy(graph, scores, n)), top = prune(graph, select_top(scores, n));
      EXPECT_GE(s.value, total(greedy, scores) - 1e-9) << family;
      EXPECT_GE(s.value, total(top, scores) - 1e-9) << family;
    }
  }
}

// Every subset of the candidates that is allowed, counted out.
TEST(SelectIlp, among_few_candidates_it_is_the_best_of_all_subsets) {
  for (const char* family : {"llama_gqa_tied", "attn_only_ln"}) {
    const Graph graph(golden_model(family)->config());
    for (uint64_t seed = 0; seed < 4; ++seed) {
      // A greedy circuit's edges, so that many subsets are connected.
      const auto all = random_scores(graph, seed);
      std::vector<double> scores(graph.n_edges(), 0);
      const EdgeMask some = select_greedy(graph, all, 14);
      std::vector<int64_t> edges;
      for (int64_t e = 0; e < graph.n_edges(); ++e)
        if (some[e]) {
          scores[e] = all[e];
          edges.push_back(e);
        }
      const int64_t n = 7;
      double best = 0;
      for (uint32_t subset = 0; subset < (1u << edges.size()); ++subset) {
        if (__builtin_popcount(subset) > n) continue;
        EdgeMask mask(graph.n_edges(), 0);
        for (size_t i = 0; i < edges.size(); ++i) mask[edges[i]] = subset >> i & 1;
        if (total(mask, scores) > best && prune(graph, mask) == mask) best = total(mask, scores);
      }
      const IlpSelection s = select_ilp(graph, scores, {.edges = n});
      EXPECT_NEAR(s.value, best, 1e-9) << family << " " << seed;
      EXPECT_TRUE(s.optimal);
    }
  }
}

TEST(SelectIlp, the_same_question_has_the_same_answer) {
  const Graph graph(golden_model("gpt2")->config());
  const auto scores = random_scores(graph, 9);
  EXPECT_EQ(select_ilp(graph, scores, {.edges = 30}).mask, select_ilp(graph, scores, {.edges = 30}).mask);
}

TEST(SelectIlp, tiny_and_huge_scores_are_the_same_question) {
  const Graph graph(golden_model("attn_only_ln")->config());
  auto scores = random_scores(graph, 10);
  const EdgeMask once = select_ilp(graph, scores, {.edges = 12}).mask;
  for (double& s : scores) s *= 1e-9;
  EXPECT_EQ(select_ilp(graph, scores, {.edges = 12}).mask, once);
}

TEST(SelectIlp, no_scores_make_no_circuit_and_nonsense_is_refused) {
  const Graph graph(golden_model("attn_only_ln")->config());
  std::vector<double> scores(graph.n_edges(), 0);
  EXPECT_EQ(count_edges(select_ilp(graph, scores, {}).mask), 0);
  EXPECT_THROW(select_ilp(graph, scores, {.edges = 0}), Error);
  EXPECT_THROW(select_ilp(graph, scores, {.seconds = 0}), Error);
  scores[0] = NAN;
  EXPECT_THROW(select_ilp(graph, scores, {}), Error);
  const Graph by_role(golden_model("attn_only_ln")->config(), {.roles = {"a", "b"}});
  EXPECT_THROW(select_ilp(by_role, std::vector<double>(by_role.n_edges(), 1), {}), Error);
}

}  // namespace
}  // namespace microtome
