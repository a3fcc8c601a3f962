#include <algorithm>
#include <numeric>

#include "graph_support.h"
#include "microtome/base/error.h"
#include "microtome/circuits/graph/edge_scores.h"

namespace microtome {
namespace {

using namespace graph_support;

const Metric kLogitDiff(MetricKind::kLogitDiff);

double largest(const std::vector<double>& x) {
  double out = 0;
  for (const double v : x) out = std::max(out, std::abs(v));
  return out;
}

Site receiver_site(const Receiver& r, const Config& c) {
  switch (r.kind) {
    case Receiver::Kind::kQuery: return {SiteKind::kQInput, r.layer};
    case Receiver::Kind::kKey: return {SiteKind::kKInput, r.layer};
    case Receiver::Kind::kValue: return {SiteKind::kVInput, r.layer};
    case Receiver::Kind::kMlp: return {SiteKind::kMlpIn, r.layer};
    case Receiver::Kind::kLogits: break;
  }
  return {SiteKind::kResidPost, static_cast<int>(c.n_layers) - 1};
}

// a_u - z_u of a source, as an edit at a receiver's input (or a site of the stream), times factor.
Edit patch_of(const Graph& graph, const Example& e, int64_t v, const std::vector<float>& clean, const std::vector<float>& ablated,
              float factor) {
  const int64_t d = graph.config().d_model, t = e.length();
  const Receiver& r = graph.receiver(v);
  const bool heads = r.kind != Receiver::Kind::kMlp && r.kind != Receiver::Kind::kLogits;
  Tensor delta = Tensor::empty(heads ? Shape{t, 1, d} : Shape{t, d});
  for (int64_t k = 0; k < t * d; ++k) delta.f32()[k] = ablated[k] - clean[k];
  Slice where;
  if (heads) where.head = Range{r.head, r.head + 1};
  return add_edit(receiver_site(r, graph.config()), where, delta, factor);
}

double metric_with(const Model& model, const Example& e, const Metric& metric, const std::vector<Edit>& edits) {
  return metric.value(e, run_alone(model, {e.clean, metric.positions(e), metric.columns(e)}, edits));
}

TEST(EdgeScores, patching_an_edge_equals_an_edit_at_its_receiver) {
  for (const char* family : kFamilies) {
    const auto model = golden_model(family);
    const auto examples = pairs(*model, {7, 5});
    const Graph graph(model->config());
    CircuitRun run(*model, graph, examples, {});
    std::vector<int64_t> edges;
    for (int64_t e = 0; e < graph.n_edges(); e += 7) edges.push_back(e);
    size_t seen = 0;
    std::vector<std::vector<std::vector<float>>> clean, ablated;
    for (const Example& e : examples) {
      clean.push_back(source_outputs(*model, graph, e.clean));
      ablated.push_back(source_outputs(*model, graph, e.corrupted));
    }
    patch_edges(run, kLogitDiff, graph, edges, [&](size_t i, std::span<const double> effects) {
      ++seen;
      const EdgeEnds x = graph.ends(edges[i]);
      for (size_t p = 0; p < examples.size(); ++p) {
        const double alone =
            metric_with(*model, examples[p], kLogitDiff,
                        {patch_of(graph, examples[p], x.receiver, clean[p][x.source], ablated[p][x.source], 1)}) -
            metric_with(*model, examples[p], kLogitDiff, {});
        EXPECT_NEAR(effects[p], alone, 2e-5) << family << " " << graph.edge_name(edges[i]);
      }
    });
    EXPECT_EQ(seen, edges.size());
  }
}

TEST(EdgeScores, every_method_is_exact_on_a_model_that_is_linear_in_its_edges) {
  const auto model = linear_model();
  const auto examples = pairs(*model, {7, 9});
  const Graph graph(model->config());
  const auto score = [&](EdgeMethod method) { return score_edges(*model, graph, examples, kLogitDiff, {.method = method}).mean; };
  const std::vector<double> exact = score(EdgeMethod::kExact);
  ASSERT_GT(largest(exact), 0.01);
  for (const EdgeMethod method :
       {EdgeMethod::kEap, EdgeMethod::kEapIg, EdgeMethod::kEapIgActivations, EdgeMethod::kCleanCorrupted}) {
    const std::vector<double> got = score(method);
    for (int64_t e = 0; e < graph.n_edges(); ++e)
      EXPECT_NEAR(got[e], exact[e], 1e-5 * std::max(1.0, std::abs(exact[e])))
          << edge_method_name(method) << " " << graph.edge_name(e);
  }
}

TEST(EdgeScores, eap_is_the_slope_of_the_patch_on_every_family) {
  for (const char* family : kFamilies) {
    const auto model = golden_model(family);
    const auto examples = pairs(*model, {7});
    const Graph graph(model->config());
    const std::vector<double> eap = score_edges(*model, graph, examples, kLogitDiff, {}).mean;
    const auto clean = source_outputs(*model, graph, examples[0].clean),
               ablated = source_outputs(*model, graph, examples[0].corrupted);
    const double scale = largest(eap);
    constexpr float kStep = 1.0f / 64;
    for (int64_t e = 0; e < graph.n_edges(); e += 3) {
      const EdgeEnds x = graph.ends(e);
      const auto at = [&](float step) {
        return metric_with(*model, examples[0], kLogitDiff,
                           {patch_of(graph, examples[0], x.receiver, clean[x.source], ablated[x.source], step)});
      };
      EXPECT_NEAR((at(kStep) - at(-kStep)) / (2 * kStep), eap[e], 2e-3 * scale) << family << " " << graph.edge_name(e);
    }
  }
}

TEST(EdgeScores, integrated_gradients_are_complete_for_every_prompt) {
  for (const char* family : kFamilies)
    for (const AblationKind kind : {AblationKind::kResample, AblationKind::kMean}) {
      const auto model = golden_model(family);
      const auto examples = pairs(*model, {7, 9, 6, 8});
      const Graph graph(model->config());
      const ScoreOptions options{.method = EdgeMethod::kEapIg, .ablation = {.kind = kind}, .per_example = true};
      const EdgeScores s = score_edges(*model, graph, examples, kLogitDiff, options);
      for (size_t i = 0; i < examples.size(); ++i) {
        double sum = 0;
        for (int64_t v = 0; v < graph.n_receivers(); ++v) sum += s.per_example[i * graph.n_edges() + graph.edge(0, v)];
        EXPECT_NEAR(sum, s.ablated[i] - s.clean[i], 0.01 * std::abs(s.ablated[i] - s.clean[i]) + 1e-5) << family << i;
        EXPECT_NEAR(s.gap[i], std::abs(sum / (s.ablated[i] - s.clean[i]) - 1), 1e-3) << family << i;
        EXPECT_NEAR(s.clean[i], metric_with(*model, examples[i], kLogitDiff, {}), 1e-5);
      }
      EXPECT_LT(s.total_gap, 0.011) << family;
    }
}

TEST(EdgeScores, nodes_are_doubled_only_where_the_gap_asks_for_it) {
  const auto model = golden_model("llama_gqa_tied");
  const auto examples = pairs(*model, {7, 9, 6, 8});
  const Graph graph(model->config());
  const auto with = [&](QuadratureRule rule, int64_t steps) {
    return score_edges(*model, graph, examples, kLogitDiff, {.method = EdgeMethod::kEapIg, .rule = rule, .steps = steps});
  };
  const EdgeScores left = with(QuadratureRule::kLeft, 0), fixed = with(QuadratureRule::kLeft, 5);
  for (size_t i = 0; i < examples.size(); ++i) {
    EXPECT_EQ(fixed.nodes[i], 5);
    EXPECT_TRUE(left.gap[i] < 0.01 || left.nodes[i] == 128);
    if (fixed.gap[i] >= 0.01) EXPECT_GT(left.nodes[i], 5);
    else EXPECT_EQ(left.nodes[i], 5);
  }
  EXPECT_GT(*std::max_element(left.nodes.begin(), left.nodes.end()), 5);
  // A single left node is the ablated end; the midpoint rule of many nodes and Gauss agree.
  const EdgeScores gauss = with(QuadratureRule::kGauss, 24), midpoint = with(QuadratureRule::kMidpoint, 100);
  for (int64_t e = 0; e < graph.n_edges(); ++e) EXPECT_NEAR(gauss.mean[e], midpoint.mean[e], 1e-3 * largest(gauss.mean));
}

TEST(EdgeScores, memory_and_batches_do_not_matter) {
  for (const char* family : {"llama_gqa_tied", "gpt2"})
    for (const EdgeMethod method : {EdgeMethod::kEap, EdgeMethod::kEapIg, EdgeMethod::kEapIgActivations, EdgeMethod::kAtp}) {
      const auto model = golden_model(family);
      const auto examples = pairs(*model, {7, 9, 6, 8, 7});
      const Graph graph(model->config());
      const auto with = [&](double memory_gb) {
        return score_edges(*model, graph, examples, kLogitDiff, {.method = method, .memory_gb = memory_gb}).mean;
      };
      const std::vector<double> wide = with(1), narrow = with(1e-9), middle = with(2e-3);
      const double scale = largest(wide);
      for (int64_t e = 0; e < graph.n_edges(); ++e) {
        ASSERT_NEAR(narrow[e], wide[e], 1e-6 * scale) << family << edge_method_name(method) << graph.edge_name(e);
        ASSERT_NEAR(middle[e], wide[e], 1e-6 * scale) << family << edge_method_name(method) << graph.edge_name(e);
      }
    }
}

TEST(EdgeScores, scores_by_role_add_up) {
  const auto model = golden_model("llama_gqa_tied");
  const auto examples = pairs(*model, {7, 9, 6});
  const Graph graph(model->config()), by_role(model->config(), {.roles = position_roles(examples)});
  const std::vector<double> whole = score_edges(*model, graph, examples, kLogitDiff, {}).mean;
  const std::vector<double> parts = score_edges(*model, by_role, examples, kLogitDiff, {}).mean;
  for (int64_t e = 0; e < graph.n_edges(); ++e) {
    double sum = 0;
    for (int64_t r = 0; r < by_role.n_roles(); ++r) sum += parts[r * graph.n_edges() + e];
    EXPECT_NEAR(sum, whole[e], 1e-5 * largest(whole)) << graph.edge_name(e);
  }
  // Before the first difference nothing can matter.
  const int64_t start = std::find(by_role.roles().begin(), by_role.roles().end(), "start") - by_role.roles().begin();
  for (int64_t e = 0; e < graph.n_edges(); ++e) EXPECT_EQ(parts[start * graph.n_edges() + e], 0);
}

TEST(EdgeScores, activations_are_interpolated_where_the_source_writes) {
  const auto model = golden_model("gpt2");
  const auto examples = pairs(*model, {7});
  const Graph graph(model->config());
  const Example& e = examples[0];
  const std::vector<double> got =
      score_edges(*model, graph, examples, kLogitDiff, {.method = EdgeMethod::kEapIgActivations, .steps = 3}).mean;
  const auto clean = source_outputs(*model, graph, e.clean), ablated = source_outputs(*model, graph, e.corrupted);
  const int64_t d = model->config().d_model, n = e.length() * d;
  const auto check = [&](int64_t source, const std::vector<int64_t>& group, Site site, int64_t receiver) {
    Tensor change = Tensor::zeros({e.length(), d});
    for (const int64_t u : group)
      for (int64_t k = 0; k < n; ++k) change.f32()[k] += ablated[u][k] - clean[u][k];
    constexpr float kStep = 1.0f / 32;
    double slope = 0;
    for (const float at : {1.0f / 6, 0.5f, 5.0f / 6}) {
      const auto value = [&](float step) {
        return metric_with(
            *model, e, kLogitDiff,
            {add_edit(site, {}, change, 1 - at), patch_of(graph, e, receiver, clean[source], ablated[source], step)});
      };
      slope += (value(kStep) - value(-kStep)) / (2 * kStep) / 3;
    }
    EXPECT_NEAR(got[graph.edge(source, receiver)], slope, 2e-3 * largest(got)) << graph.edge_name(graph.edge(source, receiver));
  };
  std::vector<int64_t> heads(model->config().n_heads);
  std::iota(heads.begin(), heads.end(), graph.head_source(0, 0));
  for (const int64_t v :
       {graph.mlp_receiver(0), graph.query_receiver(1, 1), graph.value_receiver(1, 0), graph.logits_receiver()}) {
    check(heads[1], heads, {SiteKind::kAttnOut, 0}, v);
    if (v != graph.mlp_receiver(0)) check(graph.mlp_source(0), {graph.mlp_source(0)}, {SiteKind::kMlpOut, 0}, v);
  }
}

TEST(EdgeScores, node_scores_are_slopes_of_patching_the_whole_output) {
  const auto model = golden_model("llama_gqa_tied");
  const auto examples = pairs(*model, {7});
  const Graph graph(model->config());
  const Example& e = examples[0];
  const EdgeScores s = score_edges(*model, graph, examples, kLogitDiff, {.method = EdgeMethod::kAtp});
  const auto clean = source_outputs(*model, graph, e.clean), ablated = source_outputs(*model, graph, e.corrupted);
  for (int64_t u = 0; u < graph.n_sources(); ++u) {
    const GraphNode node = graph.source(u);
    Site site{SiteKind::kResidPre, 0};
    if (node.kind == GraphNode::Kind::kHead) site = {SiteKind::kAttnOut, node.layer};
    if (node.kind == GraphNode::Kind::kMlp) site = {SiteKind::kMlpOut, node.layer};
    Tensor delta = Tensor::empty({e.length(), model->config().d_model});
    for (int64_t k = 0; k < delta.numel(); ++k) delta.f32()[k] = ablated[u][k] - clean[u][k];
    constexpr float kStep = 1.0f / 64;
    const double slope = (metric_with(*model, e, kLogitDiff, {add_edit(site, {}, delta, kStep)}) -
                          metric_with(*model, e, kLogitDiff, {add_edit(site, {}, delta, -kStep)})) /
                         (2 * kStep);
    EXPECT_NEAR(s.node[u], slope, 2e-3 * largest(s.node)) << graph.source_name(u);
    EXPECT_EQ(s.mean[graph.edge(u, graph.logits_receiver())], s.node[u]);
  }
}

TEST(EdgeScores, refuses_what_cannot_be_scored) {
  const auto model = golden_model("llama_gqa_tied");
  auto examples = pairs(*model, {7});
  const Graph graph(model->config());
  EXPECT_THROW(score_edges(*model, graph, {}, kLogitDiff, {}), Error);
  EXPECT_THROW(score_edges(*model, Graph(model->config(), {.ungrouped = true}), examples, kLogitDiff, {}), Error);
  examples[0].corrupted.pop_back();
  EXPECT_THROW(score_edges(*model, graph, examples, kLogitDiff, {}), Error);
  EXPECT_THROW(parse_edge_method("eapig"), Error);
  EXPECT_THROW(parse_ablation("none"), Error);
}

}  // namespace
}  // namespace microtome
