// The default model on the eight prompts of the circuits specification's fixture IOI-8. Skipped where it is not there.
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "graph_support.h"
#include "microtome/base/file.h"
#include "microtome/circuits/graph/edge_scores.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

const Metric kLogitDiff(MetricKind::kLogitDiff);

std::shared_ptr<const Model> default_model() {
  const auto path = data_home() / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
  static const std::shared_ptr<const Model> model = std::filesystem::exists(path) ? Model::load(path) : nullptr;
  return model;
}

// Both orders of names in four templates; the corrupted prompt repeats the other name.
std::vector<Example> ioi_8(const Model& model) {
  struct Template {
    std::string begin, end, first, second;
  };
  const Template templates[] = {{"When John and Mary went to the shops,", " gave the bag to", " John", " Mary"},
                                {"When Tom and James went to the park,", " gave the ball to", " James", " Tom"},
                                {"When Dan and Sid went to the shops,", " gave an apple to", " Sid", " Dan"},
                                {"After Martin and Amy went to the park,", " gave a drink to", " Amy", " Martin"}};
  const auto ids = [&](const std::string& text) { return model.need_tokenizer().encode(text); };
  std::vector<Example> out;
  for (const Template& t : templates)
    for (const bool swap : {false, true}) {
      const std::string &repeated = swap ? t.second : t.first, &other = swap ? t.first : t.second;
      out.push_back({.clean = ids(t.begin + repeated + t.end),
                     .corrupted = ids(t.begin + other + t.end),
                     .answers = {ids(other)[0]},
                     .wrong = {ids(repeated)[0]}});
    }
  return out;
}

double mean_of(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

TEST(DefaultModelCircuit, ioi_metric_full_and_empty_circuit_are_those_of_the_two_runs) {
  const auto model = default_model();
  if (!model) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
  const std::vector<Example> examples = ioi_8(*model);
  ASSERT_EQ(examples[0].length(), 14);
  const Graph graph(model->config());
  ASSERT_EQ(graph.n_edges(), 70651);
  const EdgeScores eap = score_edges(*model, graph, examples, kLogitDiff, {});
  EXPECT_NEAR(mean_of(eap.clean), 5.180, 1e-3);
  EXPECT_NEAR(mean_of(eap.ablated), -5.180, 1e-3);

  CircuitRun run(*model, graph, examples, {});
  const EdgeMask full(graph.n_edges(), 1), empty(graph.n_edges(), 0);
  const std::array<const EdgeMask*, 2> circuits{&full, &empty};
  const auto m = run.metric(kLogitDiff, circuits);
  for (size_t i = 0; i < examples.size(); ++i) {
    EXPECT_NEAR(m[0][i], eap.clean[i], 1e-4);
    EXPECT_EQ(m[1][i], eap.ablated[i]);
  }
}

TEST(DefaultModelCircuit, integrated_gradients_are_complete_by_doubling_and_find_a_small_faithful_circuit) {
  const auto model = default_model();
  if (!model) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
  std::vector<Example> examples = ioi_8(*model);
  examples.resize(2);
  const Graph graph(model->config());
  const EdgeScores s = score_edges(*model, graph, examples, kLogitDiff, {.method = EdgeMethod::kEapIg});
  for (size_t i = 0; i < examples.size(); ++i) {
    EXPECT_LT(s.gap[i], 0.01);
    EXPECT_GT(s.nodes[i], 5);
  }
  CircuitRun run(*model, graph, examples, {});
  const EdgeMask circuit = prune(graph, select_top(s.mean, 700)), full(graph.n_edges(), 1);
  EdgeMask none(graph.n_edges(), 0), random = graph_support::random_mask(graph, 700.0 / 70651, 3);
  const std::array<const EdgeMask*, 4> circuits{&circuit, &full, &none, &random};
  const auto m = run.metric(kLogitDiff, circuits);
  const auto f = [&](size_t c) { return (mean_of(m[c]) - mean_of(m[2])) / (mean_of(m[1]) - mean_of(m[2])); };
  EXPECT_NEAR(f(0), 0.9, 0.2);  // 1 % of the edges
  EXPECT_NEAR(f(3), 0, 0.01);
}

// Sums of the same integrals by autograd on the transparent PyTorch model of tests/golden/models, in fp32, over the same weights.
TEST(DefaultModelCircuit, integrals_of_few_nodes_miss_by_as_much_as_in_pytorch) {
  const auto model = default_model();
  if (!model) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
  const std::vector<Example> all = ioi_8(*model);
  const Graph graph(model->config());
  const auto sums = [&](QuadratureRule rule) {
    const std::vector<Example> examples{all[0], all[4]};  // John and Sid repeated
    const ScoreOptions options{.method = EdgeMethod::kEapIg, .rule = rule, .per_example = true, .steps = 5};
    const EdgeScores s = score_edges(*model, graph, examples, kLogitDiff, options);
    std::array<double, 2> out{};
    for (int64_t i = 0; i < 2; ++i)
      for (int64_t v = 0; v < graph.n_receivers(); ++v) out[i] += s.per_example[i * graph.n_edges() + graph.edge(0, v)];
    return out;
  };
  const auto gauss = sums(QuadratureRule::kGauss), midpoint = sums(QuadratureRule::kMidpoint);
  EXPECT_NEAR(gauss[0], -9.1226, 2e-3);
  EXPECT_NEAR(gauss[1], -1.6358, 2e-3);
  EXPECT_NEAR(midpoint[0], -8.0013, 2e-3);
  EXPECT_NEAR(midpoint[1], -1.6529, 2e-3);
}

}  // namespace
}  // namespace microtome
