// Circuits of other tools: what is written is read back the same, and files that are wrong are refused with the reason.
#include <set>

#include "graph_support.h"
#include "microtome/base/error.h"
#include "microtome/circuits/graph/formats/imported.h"
#include "microtome/circuits/graph/formats/neuronpedia.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

using namespace graph_support;

std::vector<double> random_scores(const Graph& graph) {
  const Philox rng(4, "format scores");
  std::vector<double> out;
  for (int64_t e = 0; e < graph.n_edges(); ++e) out.push_back(rng.normal(e));
  return out;
}

std::string refusal(const std::string& text, const Graph& graph) {
  try {
    read_circuit_file(text, "F", graph);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(CircuitFormats, written_circuits_are_read_back_the_same) {
  for (const char* family : kFamilies) {
    const Graph graph(golden_model(family)->config());
    const EdgeMask mask = random_mask(graph, .3, 5);
    const auto scores = random_scores(graph);
    const ImportedCircuit eap = read_circuit_file(dump_json(write_eap_ig(graph, mask, scores)), "F", graph);
    EXPECT_EQ(eap.format, "eap-ig");
    EXPECT_EQ(eap.mask, mask) << family;
    const ImportedCircuit list = read_circuit_file(dump_json(write_auto_circuit(graph, mask, scores)), "F", graph);
    EXPECT_EQ(list.format, "auto-circuit");
    EXPECT_EQ(list.mask, mask) << family;
    EXPECT_TRUE(eap.scored && list.scored);
    for (int64_t e = 0; e < graph.n_edges(); ++e) {
      EXPECT_NEAR(eap.scores[e], scores[e], 1e-12);
      EXPECT_NEAR(list.scores[e], mask[e] ? scores[e] : 0, 1e-12);
    }
  }
}

TEST(CircuitFormats, an_eap_ig_file_has_that_tools_fields_and_names) {
  const auto model = golden_model("gpt2");
  const Graph graph(model->config());
  const Json json = write_eap_ig(graph, EdgeMask(graph.n_edges(), 1), {});
  EXPECT_EQ(json["cfg"]["n_layers"], model->config().n_layers);
  EXPECT_EQ(json["cfg"]["parallel_attn_mlp"], false);
  EXPECT_EQ(json["edges"].size(), static_cast<size_t>(graph.n_edges()));
  for (const char* name : {"input->a0.h0<q>", "input->m0", "a0.h1->m0", "m0->a1.h0<v>", "m1->logits"})
    EXPECT_EQ(json["edges"][name]["in_graph"], true) << name;
  for (const char* name : {"input", "a0.h1", "m1", "logits"}) EXPECT_EQ(json["nodes"][name]["in_graph"], true) << name;
}

TEST(CircuitFormats, heads_that_share_keys_share_their_edges) {
  const auto model = golden_model("llama_gqa_tied");
  const Config& c = model->config();
  ASSERT_LT(c.n_kv_heads, c.n_heads);
  const Graph graph(c);
  const ImportedCircuit r = read_circuit_file(fmt::format(R"({{"cfg": {{"n_layers": {}, "n_heads": {}}}, "nodes": {{}},
        "edges": {{"input->a0.h0<k>": {{"score": 1.5, "in_graph": false}}, "input->a0.h1<k>": {{"score": 0.25, "in_graph": true}}}}}})",
                                                          c.n_layers, c.n_heads),
                                              "F", graph);
  const int64_t e = graph.find_edge("input", "a0.h0<k>");
  EXPECT_EQ(r.mask[e], 1);
  EXPECT_EQ(r.scores[e], 1.75);
  EXPECT_EQ(count_edges(r.mask), 1);
}

TEST(CircuitFormats, edge_lists_come_in_several_forms) {
  const Graph graph(golden_model("gpt2")->config());
  const auto edges = [&](const std::string& text) {
    std::set<std::string> names;
    const ImportedCircuit c = read_circuit_file(text, "F", graph);
    for (int64_t e = 0; e < graph.n_edges(); ++e)
      if (c.mask[e]) names.insert(fmt::format("{} {}", graph.edge_name(e), c.scores[e]));
    return names;
  };
  const std::set<std::string> plain{"input->a0.h1<k> 0", "m0->logits 0"};
  EXPECT_EQ(edges(R"(["Resid Start->A0.1.K", "MLP 0->Resid End"])"), plain);
  EXPECT_EQ(edges(R"({"edges": ["Resid Start->A0.1.K", "MLP 0->Resid End"]})"), plain);
  EXPECT_EQ(edges("Resid Start->A0.1.K\n# a comment\n\nMLP 0->Resid End\r\n"), plain);
  const std::set<std::string> scored{"a0.h1->m1 -2", "input->m0 0.5"};
  EXPECT_EQ(edges(R"({"A0.1->MLP 1": -2, "Resid Start->MLP 0": 0.5})"), scored);
  EXPECT_EQ(edges("A0.1->MLP 1 -2\nResid Start->MLP 0\t0.5"), scored);
  EXPECT_EQ(edges("A0.1->A1.0"), (std::set<std::string>{"a0.h1->a1.h0<q> 0", "a0.h1->a1.h0<k> 0", "a0.h1->a1.h0<v> 0"}));
}

TEST(CircuitFormats, files_that_are_wrong_are_refused_with_the_reason) {
  const auto model = golden_model("gpt2");
  const Graph graph(model->config());
  EXPECT_NE(refusal("", graph).find("empty"), std::string::npos);
  EXPECT_NE(refusal("{\"cfg\"", graph).find("not JSON"), std::string::npos);
  EXPECT_NE(refusal(R"({"cfg": {"n_layers": 99}, "edges": {}})", graph).find("model with n_layers 99"), std::string::npos);
  EXPECT_NE(refusal(R"({"cfg": {"n_layers": "2"}, "edges": {}})", graph).find("whole number"), std::string::npos);
  EXPECT_NE(refusal(R"({"cfg": 3, "edges": {}})", graph).find("not an object"), std::string::npos);
  EXPECT_NE(refusal(R"({"cfg": {}, "edges": []})", graph).find("EAP-IG"), std::string::npos);
  const auto edge = [&](const std::string& name, const std::string& value) {
    return refusal(R"({"cfg": {}, "edges": {")" + name + "\": " + value + "}}", graph);
  };
  EXPECT_EQ(edge("input->m0", R"({"in_graph": true, "score": null})"), "");
  EXPECT_EQ(edge("input->m0", "true"), "");
  EXPECT_NE(edge("input->m0", R"({"score": 1})").find("in_graph"), std::string::npos);
  EXPECT_NE(edge("input->m0", R"({"in_graph": true, "score": "x"})").find("not a number"), std::string::npos);
  EXPECT_NE(edge("input->m0", "[]").find("not an object"), std::string::npos);
  for (const char* name : {"input", "input->", "->m0", "input->a0.h0", "input->a0.h0<x>", "a0.h0<q>->m0", "m0->input",
                           "m->logits", "m99999999999999999999->logits", "a-1.h0->logits"})
    EXPECT_NE(edge(name, "true").find("is no edge"), std::string::npos) << name;
  for (const char* name : {"input->m77", "m1->m0", "a0.h9->logits", "input->a0.h9<k>", "m1->a1.h0<q>"})
    EXPECT_NE(edge(name, "true").find("no edge \""), std::string::npos) << name;
  EXPECT_EQ(edge("input->m77", "false"), "");
  for (const char* text : {"[1]", "[\"A0.1\"]", "[\"A0.1->B\"]", "{\"A0.1->MLP 1\": []}", "hello", "A0.1->MLP x", "A0.1.Q->MLP 1",
                           "A0.1->Resid Start", "[[\"A0.1->MLP 1\"]]", "3", "A0.1->MLP 1 2 3", "A0.1->MLP 1 nan"})
    EXPECT_NE(refusal(text, graph), "") << text;
  EXPECT_NE(refusal("MLP 1->MLP 0", graph).find("no edge \""), std::string::npos);
}

TEST(Neuronpedia, every_link_joins_two_nodes_of_the_file) {
  for (const char* family : {"gpt2", "llama_gqa_tied", "neox_parallel"}) {
    const auto model = golden_model(family);
    Example e = pairs(*model, {6})[0];
    e.positions.clear();
    const Graph graph(model->config(), {.roles = position_roles({e})});
    const EdgeMask mask = random_mask(graph, .3, 8);
    const auto scores = random_scores(graph);
    const Json json = write_neuronpedia(graph, e, mask, scores,
                                        {.scan = "tiny", .prompt = "p", .tokens = {"a", "b", "c", "d", "e", "f"}, .answer = "x"});
    std::set<std::string> ids, drawn;
    for (const Json& n : json["nodes"]) {
      EXPECT_TRUE(ids.insert(n["node_id"].get<std::string>()).second) << n["node_id"];
      EXPECT_TRUE(drawn.insert(n["jsNodeId"].get<std::string>()).second) << n["jsNodeId"];
      for (const char* field : {"feature", "layer", "ctx_idx", "feature_type", "clerp"}) EXPECT_TRUE(n.contains(field)) << field;
      EXPECT_TRUE(n["ctx_idx"] >= 0 && n["ctx_idx"] < 6);
    }
    EXPECT_GT(json["links"].size(), 10u);
    for (const Json& l : json["links"]) {
      EXPECT_TRUE(ids.contains(l["source"].get<std::string>()) && ids.contains(l["target"].get<std::string>()));
      EXPECT_TRUE(l["weight"].is_number());
    }
    for (const char* field : {"slug", "scan", "prompt_tokens", "prompt"}) EXPECT_TRUE(json["metadata"].contains(field)) << field;
    EXPECT_TRUE(json.contains("qParams"));
  }
}

TEST(Neuronpedia, a_path_through_a_head_moves_between_positions) {
  const auto model = golden_model("attn_only_ln");
  Example e = pairs(*model, {4})[0];
  e.positions.clear();
  const Graph graph(model->config(), {.roles = position_roles({e})});
  EdgeMask mask(graph.n_edges(), 0);
  std::vector<double> scores(graph.n_edges(), 0);
  const auto put = [&](const char* from, const char* to, double score) {
    const int64_t edge = graph.find_edge(from, to);
    ASSERT_GE(edge, 0) << from << to;
    mask[edge] = 1;
    scores[edge] = score;
  };
  put("input@1", "a0.h0<v>@1", .5);
  put("a0.h0@3", "logits@3", -2);
  const Json json = write_neuronpedia(graph, e, mask, scores, {.tokens = {"a", "b", "c", "d"}, .answer = "x"});
  const std::string token = fmt::format("E_{}_1", e.clean[1]), logit = fmt::format("{}_{}_3", graph.n_layers() + 1, e.answers[0]);
  ASSERT_EQ(json["links"].size(), 2u);
  std::map<std::string, double> links;
  for (const Json& l : json["links"]) links[l["source"].get<std::string>() + " " + l["target"].get<std::string>()] = l["weight"];
  EXPECT_EQ(links.at(token + " 0_0_3"), .5);
  EXPECT_EQ(links.at("0_0_3 " + logit), -2);
}

TEST(Neuronpedia, graphs_without_positions_or_answers_are_refused) {
  const auto model = golden_model("attn_only_ln");
  Example e = pairs(*model, {4})[0];
  const Graph whole(model->config());
  EXPECT_THROW(write_neuronpedia(whole, e, EdgeMask(whole.n_edges(), 1), {}, {}), Error);
  const Graph graph(model->config(), {.roles = position_roles({e})});
  e.answers.clear();
  EXPECT_THROW(write_neuronpedia(graph, e, EdgeMask(graph.n_edges(), 1), {}, {}), Error);
}

}  // namespace
}  // namespace microtome
