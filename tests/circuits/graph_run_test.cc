#include <algorithm>
#include <numeric>

#include "graph_support.h"
#include "microtome/base/error.h"

namespace microtome {
namespace {

using namespace graph_support;

void expect_close(const Tensor& got, const Tensor& wanted, double tolerance, const std::string& what) {
  ASSERT_EQ(got.numel(), wanted.numel()) << what;
  for (int64_t i = 0; i < got.numel(); ++i)
    ASSERT_NEAR(got.f32()[i], wanted.f32()[i], tolerance * std::max(1.0f, std::abs(wanted.f32()[i]))) << what << " at " << i;
}

Tensor plain_logits(const Model& model, const std::vector<int32_t>& ids, const Example& e, const Metric& metric) {
  return run_alone(model, {ids, metric.positions(e), metric.columns(e)}, {});
}

TEST(CircuitRun, full_circuit_is_the_clean_run_and_empty_one_the_corrupted) {
  for (const char* family : kFamilies)
    for (const bool by_role : {false, true}) {
      const auto model = golden_model(family);
      const auto examples = pairs(*model, {7, 9, 6});
      const Graph graph(model->config(), {.roles = by_role ? position_roles(examples) : std::vector<std::string>{}});
      const Metric metric(MetricKind::kKl);
      CircuitRun run(*model, graph, examples, {});
      const EdgeMask full(graph.n_edges(), 1), empty(graph.n_edges(), 0);
      const std::array<const EdgeMask*, 2> both{&full, &empty};
      run.logits(metric, both, [&](size_t circuit, size_t i, const Tensor& logits) {
        const auto& ids = circuit == 0 ? examples[i].clean : examples[i].corrupted;
        expect_close(logits, plain_logits(*model, ids, examples[i], metric), circuit == 0 ? 1e-5 : 0, family);
      });
    }
}

std::vector<std::vector<float>> ablated_outputs(const Model& model, const Graph& graph, AblationKind kind,
                                                const std::vector<Example>& examples, size_t i) {
  const int64_t d = model.config().d_model, t = examples[i].length();
  if (kind == AblationKind::kResample) return source_outputs(model, graph, examples[i].corrupted);
  std::vector<std::vector<float>> out(graph.n_sources(), std::vector<float>(t * d, 0.0f));
  if (kind == AblationKind::kZero) return out;
  std::vector<std::vector<double>> sum(graph.n_sources(), std::vector<double>(t * d, 0.0));
  std::vector<double> count(t, 0);
  for (const Example& e : examples) {
    if (kind == AblationKind::kMeanPosition && e.length() != t) continue;
    const auto z = source_outputs(model, graph, e.corrupted);
    for (int64_t r = 0; r < e.length(); ++r)
      for (int64_t to = 0; to < t; ++to) {
        if (kind == AblationKind::kMeanPosition && to != r) continue;
        ++count[to];
        for (int64_t u = 0; u < graph.n_sources(); ++u)
          for (int64_t k = 0; k < d; ++k) sum[u][to * d + k] += z[u][r * d + k];
      }
  }
  for (int64_t u = 0; u < graph.n_sources(); ++u)
    for (int64_t r = 0; r < t; ++r)
      for (int64_t k = 0; k < d; ++k) out[u][r * d + k] = static_cast<float>(sum[u][r * d + k] / count[r]);
  return out;
}

TEST(CircuitRun, any_circuit_equals_the_definition_under_every_ablation) {
  for (const char* family : kFamilies)
    for (const AblationKind kind :
         {AblationKind::kResample, AblationKind::kZero, AblationKind::kMean, AblationKind::kMeanPosition}) {
      const auto model = golden_model(family);
      const auto examples = pairs(*model, {7, 9, 7});
      const Graph graph(model->config(),
                        {.roles = kind == AblationKind::kMean ? position_roles(examples) : std::vector<std::string>{}});
      const Metric metric(MetricKind::kKl);
      CircuitRun run(*model, graph, examples, {.ablation = {.kind = kind}});
      const EdgeMask some = random_mask(graph, 0.1, 1), half = random_mask(graph, 0.5, 2), most = random_mask(graph, 0.9, 3);
      const std::array<const EdgeMask*, 3> circuits{&some, &half, &most};
      std::vector<std::vector<std::vector<float>>> ablated;
      for (size_t i = 0; i < examples.size(); ++i) ablated.push_back(ablated_outputs(*model, graph, kind, examples, i));
      run.logits(metric, circuits, [&](size_t circuit, size_t i, const Tensor& logits) {
        const Tensor slow = slow_circuit(*model, graph, *circuits[circuit], examples[i], metric, ablated[i]);
        expect_close(logits, slow, 3e-5, fmt::format("{} {} circuit {} prompt {}", family, ablation_name(kind), circuit, i));
      });
    }
}

TEST(CircuitRun, circuits_that_agree_below_a_layer_give_what_they_give_alone) {
  for (const char* family : {"llama_gqa_tied", "gpt2", "neox_parallel"}) {
    const auto model = golden_model(family);
    const auto examples = pairs(*model, {7, 9, 6});
    const Graph graph(model->config());
    const Metric metric(MetricKind::kLogitDiff);
    // Differ in the last layer and the logits only.
    std::vector<EdgeMask> masks(4, random_mask(graph, 0.6, 4));
    const int64_t last = graph.n_layers() - 1;
    masks[1][graph.edge(graph.head_source(0, 1), graph.query_receiver(last, 1))] ^= 1;
    masks[2][graph.edge(2, graph.mlp_receiver(last))] ^= 1;
    masks[3][graph.edge(graph.head_source(last, 0), graph.logits_receiver())] ^= 1;
    std::vector<const EdgeMask*> circuits;
    for (const EdgeMask& m : masks) circuits.push_back(&m);
    CircuitRun together(*model, graph, examples, {}), tight(*model, graph, examples, {.memory_gb = 1e-6});
    const auto values = together.metric(metric, circuits), split = tight.metric(metric, circuits);
    EXPECT_LT(together.macs(), tight.macs()) << family;
    for (size_t c = 0; c < circuits.size(); ++c) {
      CircuitRun alone(*model, graph, examples, {});
      const auto own = alone.metric(metric, {&circuits[c], 1})[0];
      for (size_t i = 0; i < examples.size(); ++i) {
        EXPECT_NEAR(values[c][i], own[i], 1e-5) << family << c;
        EXPECT_NEAR(split[c][i], own[i], 1e-5) << family << c;
      }
    }
    EXPECT_GT(std::abs(values[3][0] - values[0][0]), 1e-7);
  }
}

TEST(CircuitRun, the_loss_metric_reads_positions_before_the_difference) {
  const auto model = golden_model("llama_gqa_tied");
  auto examples = pairs(*model, {8, 6}, 3);
  for (Example& e : examples) e.loss_from = 1;
  const Graph graph(model->config());
  const Metric metric(MetricKind::kLoss);
  CircuitRun run(*model, graph, examples, {});
  const EdgeMask full(graph.n_edges(), 1);
  const EdgeMask* circuit = &full;
  const auto values = run.metric(metric, {&circuit, 1})[0];
  for (size_t i = 0; i < examples.size(); ++i)
    EXPECT_NEAR(values[i], metric.value(examples[i], plain_logits(*model, examples[i].clean, examples[i], metric)), 1e-5);
}

TEST(CircuitRun, means_are_over_the_references_of_the_prompts_template) {
  const auto model = golden_model("gpt2");
  const auto examples = pairs(*model, {6, 6});
  const Graph graph(model->config());
  const Metric metric(MetricKind::kLogitDiff);
  // Each template's only reference is the clean prompt itself: its mean at each position is the clean run, so that the empty
  // circuit is the clean one too.
  Ablation ablation{
      .kind = AblationKind::kMeanPosition, .references = {examples[0].clean, examples[1].clean}, .groups = {"a", "b"}};
  CircuitRun run(*model, graph, examples, {.ablation = ablation});
  const EdgeMask empty(graph.n_edges(), 0);
  const EdgeMask* circuit = &empty;
  const auto values = run.metric(metric, {&circuit, 1})[0];
  for (size_t i = 0; i < examples.size(); ++i)
    EXPECT_NEAR(values[i], metric.value(examples[i], plain_logits(*model, examples[i].clean, examples[i], metric)), 1e-5);

  ablation.references = {{1, 2, 3}, {4, 5, 6}};
  CircuitRun wrong(*model, graph, examples, {.ablation = ablation});
  EXPECT_THROW(wrong.metric(metric, {&circuit, 1}), Error);
}

TEST(CircuitRun, refuses_graphs_that_count_keys_per_query_head) {
  const auto model = golden_model("llama_gqa_tied");
  const auto examples = pairs(*model, {6});
  const Graph graph(model->config(), {.ungrouped = true});
  EXPECT_THROW(CircuitRun(*model, graph, examples, {}), Error);
}

}  // namespace
}  // namespace microtome
