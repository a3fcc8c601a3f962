#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "graph_support.h"
#include "microtome/base/error.h"
#include "microtome/base/file.h"
#include "microtome/circuits/graph/circuit_file.h"
#include "microtome/circuits/graph/edge_scores.h"
#include "microtome/circuits/graph/faithfulness.h"
#include "microtome/circuits/graph/patched_edges.h"
#include "microtome/circuits/graph/select.h"
#include "microtome/lens/model_hash.h"

namespace microtome {
namespace {

using namespace graph_support;

const Metric kLogitDiff(MetricKind::kLogitDiff);

TEST(Faithfulness, areas_of_a_perfect_circuit_are_those_of_the_benchmark) {
  const std::vector<double> ones(mib_shares().size(), 1.0), zeros(mib_shares().size(), 0.0);
  EXPECT_NEAR(trapezoid(mib_shares(), ones), 0.999, 1e-12);  // CPR
  EXPECT_NEAR(trapezoid(mib_shares(), zeros), 0.0, 1e-12);   // CMD
}

TEST(Faithfulness, is_0_for_the_empty_circuit_1_for_the_full_one_with_intervals_over_prompts) {
  const std::vector<double> full{4, 5, 6, 5}, empty{-4, -5, -6, -5}, half{0, 0, 0, 0}, mixed{4, -5, 6, -5};
  EXPECT_EQ(faithfulness(full, full, empty, 0, 500).value, 1);
  EXPECT_EQ(faithfulness(empty, full, empty, 0, 500).value, 0);
  const Interval sure = faithfulness(half, full, empty, 0, 500), unsure = faithfulness(mixed, full, empty, 0, 500);
  EXPECT_NEAR(sure.value, 0.5, 1e-12);
  EXPECT_NEAR(sure.low, 0.5, 1e-12);
  EXPECT_NEAR(sure.high, 0.5, 1e-12);
  EXPECT_LT(unsure.low, 0.3);
  EXPECT_GT(unsure.high, 0.7);
  EXPECT_EQ(unsure.low, faithfulness(mixed, full, empty, 0, 500).low);  // the seed decides
}

// A model in which only some edges matter: the two layers' heads 0, through values, and the logits.
TEST(Faithfulness, curve_of_the_true_ranking_beats_random_circuits) {
  const auto model = linear_model(2);
  const auto examples = pairs(*model, {7, 8, 9, 7});
  const Graph graph(model->config());
  const std::vector<double> scores = score_edges(*model, graph, examples, kLogitDiff, {.method = EdgeMethod::kExact}).mean;
  CircuitRun run(*model, graph, examples, {});
  const FaithfulnessCurve curve = faithfulness_curve(run, kLogitDiff, graph, scores, {.random = 4});
  ASSERT_EQ(curve.points.size(), mib_shares().size());
  EXPECT_NEAR(curve.points.back().f, 1, 1e-5);
  EXPECT_NEAR(curve.points.front().f, 0, 1e-9);  // no edge at all
  const FaithfulnessPoint& half = curve.points[8];
  EXPECT_NEAR(half.f, 1, 0.35);  // queries and keys, most of the edges, do nothing
  EXPECT_LT(std::abs(half.random - 1), 2);
  EXPECT_GT(curve.cpr, 0.5);
  EXPECT_LE(curve.cpr_low, curve.cpr);
  EXPECT_GE(curve.cpr_high, curve.cpr);
}

TEST(Faithfulness, quality_of_the_full_circuit_is_perfect_and_needless_edges_are_told) {
  const auto model = linear_model(2);
  const auto examples = pairs(*model, {7, 8});
  const Graph graph(model->config());
  CircuitRun run(*model, graph, examples, {});
  const EdgeMask full(graph.n_edges(), 1);
  const CircuitQuality q = circuit_quality(run, kLogitDiff, graph, full, {.knockouts = 4, .edges_tried = 1000});
  EXPECT_NEAR(q.f.value, 1, 1e-5);
  EXPECT_NEAR(q.completeness, 0, 1e-5);
  EXPECT_NEAR(q.kl, 0, 1e-6);
  // Edges into queries and keys change nothing in this model.
  int64_t idle = 0;
  for (int64_t e = 0; e < graph.n_edges(); ++e) {
    const Receiver::Kind kind = graph.receiver(graph.ends(e).receiver).kind;
    idle += kind == Receiver::Kind::kQuery || kind == Receiver::Kind::kKey;
  }
  EXPECT_GE(q.needless, static_cast<double>(idle) / static_cast<double>(graph.n_edges()) - 1e-9);
  EXPECT_LT(q.needless, 1);

  // Without the logits' edges nothing is left: far from complete.
  EdgeMask cut = full;
  for (int64_t u = 0; u < graph.n_sources(); u += 2) cut[graph.edge(u, graph.logits_receiver())] = 0;
  const CircuitQuality worse = circuit_quality(run, kLogitDiff, graph, cut, {.knockouts = 4, .edges_tried = 5});
  EXPECT_GT(worse.completeness, 0.01);
  EXPECT_GT(worse.kl, 1e-4);
}

TEST(Faithfulness, refuses_prompts_whose_two_sides_do_not_differ) {
  const auto model = golden_model("gpt2");
  auto examples = pairs(*model, {6});
  examples[0].corrupted = examples[0].clean;
  const Graph graph(model->config());
  CircuitRun run(*model, graph, examples, {});
  EXPECT_THROW(faithfulness_curve(run, kLogitDiff, graph, std::vector<double>(graph.n_edges(), 0.0), {}), Error);
}

// --- files ---------------------------------------------------------------------------------------------------------------------

Circuit some_circuit(const Graph& graph) {
  Circuit c{.task = "ioi", .roles = graph.roles()};
  for (int64_t e = 0; e < graph.n_edges(); ++e) c.scores.push_back(static_cast<double>(e) / 64);
  c.edges = {{3, 3.0 / 64, {}}, {graph.n_edges() - 1, 0.5, 0.25}};
  return c;
}

TEST(CircuitFile, comes_back_as_it_was_written) {
  const auto model = golden_model("llama_gqa_tied");
  for (const bool by_role : {false, true}) {
    const Graph graph(model->config(), {.roles = by_role ? std::vector<std::string>{"S", "END"} : std::vector<std::string>{}});
    const Circuit c = some_circuit(graph);
    const Json json = parse_json(dump_json(circuit_to_json(graph, c, model_sha256(*model))), "test");
    const Circuit back = circuit_from_json(json, "c.json", *model);
    EXPECT_EQ(back.roles, c.roles);
    EXPECT_EQ(mask_of(graph, back), mask_of(graph, c));
    ASSERT_EQ(back.scores.size(), c.scores.size());
    for (size_t e = 0; e < c.scores.size(); ++e) EXPECT_NEAR(back.scores[e], c.scores[e], 1e-5 * std::abs(c.scores[e]));
    EXPECT_FALSE(back.edges[0].exact);
    EXPECT_EQ(back.edges[1].exact, 0.25);
  }
}

TEST(CircuitFile, refuses_another_models_circuit_and_says_what_to_do) {
  const auto model = golden_model("llama_gqa_tied"), other = golden_model("gpt2");
  const Graph graph(model->config());
  const Json json = circuit_to_json(graph, some_circuit(graph), model_sha256(*model));
  try {
    circuit_from_json(json, "c.json", *other);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("another model"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find("circuit MODEL find"), std::string::npos) << e.what();
  }
}

TEST(CircuitFile, refuses_whatever_else_a_file_may_hold) {
  const auto model = golden_model("llama_gqa_tied");
  const Graph graph(model->config());
  const Json good = circuit_to_json(graph, some_circuit(graph), model_sha256(*model));
  EXPECT_NO_THROW(circuit_from_json(good, "c.json", *model));
  const auto refused = [&](const char* what, auto change) {
    Json bad = good;
    change(bad);
    EXPECT_THROW(circuit_from_json(bad, "c.json", *model), Error) << what;
  };
  for (const char* name : {"schema", "model_sha256", "task", "metric", "ablation", "edges"}) {
    refused(name, [&](Json& j) { j.erase(name); });
    for (const Json& value : {Json(), Json(3), Json::array(), Json::object(), Json(std::string(1000, 'x'))})
      if (!(std::string(name) == "edges" && value.is_array())) refused(name, [&](Json& j) { j[name] = value; });
  }
  refused("no object", [](Json& j) { j = Json::array(); });
  refused("an edge twice", [](Json& j) { j["edges"].push_back(j["edges"][0]); });
  refused("an unknown node", [](Json& j) { j["edges"][0]["from"] = "a9.h0"; });
  refused("a reader before its source", [](Json& j) { j["edges"][0] = {{"from", "m1"}, {"to", "a0.h0<q>"}}; });
  refused("a role that is not there", [](Json& j) { j["edges"][0]["from"] = "input@S"; });
  refused("a score that is none", [](Json& j) { j["edges"][0]["score"] = "high"; });
  refused("too few scores", [](Json& j) { j["scores"].erase(0); });
  refused("a score that is none", [](Json& j) { j["scores"][0] = Json::object(); });
  refused("roles that are none", [](Json& j) { j["roles"] = {1, 2}; });
  refused("a role twice", [](Json& j) { j["roles"] = {"a", "a"}; });
  refused("a metric that there is not", [](Json& j) { j["metric"] = "accuracy"; });
  refused("an ablation that there is not", [](Json& j) { j["ablation"] = "median"; });
  refused("too many roles", [](Json& j) { j["roles"] = std::vector<std::string>(100'000, "a"); });
}

TEST(CircuitFile, checks_the_kind_of_what_was_measured_too) {
  const auto model = golden_model("llama_gqa_tied");
  const Graph graph(model->config());
  const auto refusal = [&](const char* name, const Json& value) -> std::string {
    Json json = circuit_to_json(graph, some_circuit(graph), model_sha256(*model));
    json[name] = value;
    try {
      circuit_from_json(json, "c.json", *model);
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
      EXPECT_TRUE(std::string(e.what()).starts_with("c.json: ")) << e.what();
      return e.what();
    }
    return "";
  };
  for (const char* good : {"null", R"({"edges": 0, "sampled": 0, "missed": null})",
                           R"({"edges": 5, "sampled": 5, "threshold": 1e-3, "missed": 0.5})"})
    EXPECT_EQ(refusal("refined", parse_json(good, "test")), "") << good;
  for (const char* bad : {"{}", R"({"n": 1})", R"({"edges": []})", R"({"edges": 5})", R"({"edges": 5, "sampled": -1})",
                          R"({"edges": 1.5, "sampled": 1})", R"({"edges": 5, "sampled": 5, "missed": "x"})", "[]", "3", "true"})
    EXPECT_NE(refusal("refined", parse_json(bad, "test")), "") << bad;
  EXPECT_EQ(refusal("examples", {{"task", "ioi"}, {"n", 8}, {"seed", 0}, {"bos", true}}), "");
  for (const char* bad : {"[]", "1", R"({"task": 5})", R"({"n": "many"})", R"({"seed": -1})", R"({"bos": 1})"})
    EXPECT_NE(refusal("examples", parse_json(bad, "test")), "") << bad;
  for (const char* name : {"method", "signed", "ig_gap", "missed", "nodes", "f", "faithfulness", "warnings", "acdc", "cpr"}) {
    EXPECT_EQ(refusal(name, Json()), "") << name;
    EXPECT_NE(refusal(name, name == std::string_view("acdc") ? Json::array() : Json::object()), "") << name;
  }
  EXPECT_EQ(refusal("n_edges", graph.n_edges()), "");
  for (const Json& bad : {Json(graph.n_edges() + 1), Json(0), Json(-1), Json(1.5), Json("all")})
    EXPECT_NE(refusal("n_edges", bad), "") << bad;
}

// --- exact effects that survive
// ----------------------------------------------------------------------------------------------------

TEST(PatchedEdges, go_on_where_they_were_cut_off) {
  const auto model = golden_model("gpt2");
  const auto examples = pairs(*model, {6, 7});
  const Graph graph(model->config());
  const TempFolder folder;
  const auto file = folder.path() / "c.json.partial";
  std::vector<int64_t> edges;
  for (int64_t e = 0; e < graph.n_edges(); e += 5) edges.push_back(e);
  CircuitRun run(*model, graph, examples, {});
  PatchedEdges whole({}, "", examples.size());
  whole.patch(run, kLogitDiff, graph, edges, nullptr);
  {
    PatchedEdges first(file, "key", examples.size());
    first.patch(run, kLogitDiff, graph, std::span(edges).first(10), nullptr);
  }
  {  // Killed in the middle of a line.
    std::string text = read_file(file);
    std::ofstream(file, std::ios::binary) << text.substr(0, text.size() - 9);
  }
  PatchedEdges second(file, "key", examples.size());
  EXPECT_EQ(second.size(), 9u);
  const int64_t before = run.macs();
  second.patch(run, kLogitDiff, graph, std::span(edges).first(9), nullptr);
  EXPECT_EQ(run.macs(), before);  // nothing to do
  second.patch(run, kLogitDiff, graph, edges, nullptr);
  for (const int64_t e : edges)
    for (size_t i = 0; i < examples.size(); ++i) EXPECT_NEAR(second.effects(e)[i], whole.effects(e)[i], 1e-5);
  const PatchedEdges third(file, "key", examples.size());
  EXPECT_EQ(third.size(), edges.size());
  for (const int64_t e : edges) EXPECT_EQ(third.effects(e), second.effects(e));
  // Another question begins anew; so does a file of anything else.
  EXPECT_EQ(PatchedEdges(file, "another", examples.size()).size(), 0u);
  std::ofstream(file, std::ios::binary) << "not ours\n1 2 3\n";
  EXPECT_EQ(PatchedEdges(file, "key", examples.size()).size(), 0u);
}

}  // namespace
}  // namespace microtome
