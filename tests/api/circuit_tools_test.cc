// `circuit` with ACDC, with an integer program, and with other tools' files.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "../circuits/paths_support.h"
#include "microtome/api/circuit.h"
#include "microtome/api/circuit_formats.h"
#include "microtome/base/error.h"

namespace microtome::api {
namespace {

using paths_support::golden;

constexpr const char* kPairs =
    R"("pairs": [{"clean": [5, 17, 3, 60, 8], "corrupted": [5, 9, 3, 60, 8], "answer": [31], "wrong": [9]},
  {"clean": [5, 11, 3, 60, 8], "corrupted": [5, 19, 3, 60, 8], "answer": [12], "wrong": [19]}])";

Json command(const std::string& rest, const Json* file = nullptr, const char* model = "attn_only_ln",
             const std::filesystem::path& state = {}) {
  const Context context{.model = std::shared_ptr<const Model>(&golden(model), [](const Model*) {}), .name = "m"};
  Json request = parse_json("{" + rest + "}", "test");
  if (file) request["circuit"] = *file;
  CircuitOptions options = circuit_options(request);
  options.state = state;
  return circuit(context, options);
}

std::string refusal(const std::string& rest, const Json* file = nullptr) {
  try {
    command(rest, file);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

std::set<std::string> edges(const Json& circuit) {
  std::set<std::string> out;
  for (const Json& e : circuit["edges"]) out.insert(e["from"].get<std::string>() + "->" + e["to"].get<std::string>());
  return out;
}

const std::string kFind = std::string(R"("verb": "find", "random": 0, )") + kPairs;

TEST(CircuitTools, acdc_finds_a_circuit_and_says_what_it_tried) {
  const Json loose = command(kFind + R"(, "method": "acdc", "tau": 0.01)");
  const Json tight = command(kFind + R"(, "method": "acdc", "tau": 0.0001)");
  EXPECT_LT(loose["edges"].size(), tight["edges"].size());
  EXPECT_EQ(tight["acdc"]["metric"], "kl");
  EXPECT_EQ(tight["acdc"]["candidates"], 81);
  EXPECT_LT(tight["kl"].get<double>(), 0.01);
  EXPECT_EQ(tight["method"], "acdc");
  EXPECT_EQ(command(kFind + R"(, "method": "acdc", "tau": 0.01, "metric": "logit-diff")")["acdc"]["metric"], "logit-diff");
}

TEST(CircuitTools, acdc_ignores_a_state_that_is_not_of_this_search) {
  const TempFolder folder;
  const auto file = folder.write("c.json.partial", R"({"key": "another", "acdc": {}})");
  const Json want = command(kFind + R"(, "method": "acdc", "tau": 0.001)");
  EXPECT_EQ(edges(command(kFind + R"(, "method": "acdc", "tau": 0.001)", nullptr, "attn_only_ln", file)), edges(want));
  folder.write("c.json.partial", "{ cut short");
  EXPECT_EQ(edges(command(kFind + R"(, "method": "acdc", "tau": 0.001)", nullptr, "attn_only_ln", file)), edges(want));
}

TEST(CircuitTools, the_integer_program_tells_its_gap_and_beats_the_pruned_top) {
  const auto total = [](const Json& c) {
    double sum = 0;
    for (const Json& e : c["edges"]) sum += std::abs(e["score"].get<double>());
    return sum;
  };
  const Json ilp = command(kFind + R"(, "method": "eap", "select": "ilp", "edges": 12)");
  const Json top = command(kFind + R"(, "method": "eap", "select": "top", "edges": 12)");
  EXPECT_TRUE(ilp["ilp"]["optimal"].get<bool>());
  EXPECT_EQ(ilp["ilp"]["gap"], 0.0);
  EXPECT_NEAR(ilp["ilp"]["value"].get<double>(), total(ilp), 1e-6);  // a file keeps seven digits
  EXPECT_LE(ilp["edges"].size(), 12u);
  EXPECT_GE(total(ilp), total(top) - 1e-6);
}

TEST(CircuitTools, exported_circuits_evaluate_as_what_they_were) {
  for (const char* model : {"attn_only_ln", "llama_gqa_tied"}) {
    const Json ours = command(kFind + R"(, "method": "eap", "edges": 25)", nullptr, model);
    const Json eval = command(R"("verb": "eval", "random": 0, )" + std::string(kPairs), &ours, model);
    for (const char* format : {"eap-ig", "auto-circuit"}) {
      const Json theirs = command(fmt::format(R"("verb": "export", "format": "{}")", format), &ours, model);
      EXPECT_FALSE(theirs.contains("schema"));
      const Json again = command(R"("verb": "eval", "random": 0, )" + std::string(kPairs), &theirs, model);
      EXPECT_EQ(edges(again), edges(ours)) << format << model;
      EXPECT_EQ(again["f"], eval["f"]);
      EXPECT_EQ(again["kl"], eval["kl"]);
      // Areas under the curve need scores of all edges.
      EXPECT_EQ(again["cpr"].is_null(), std::string_view(format) == "auto-circuit");
    }
  }
}

TEST(CircuitTools, a_list_of_edges_in_lines_is_a_circuit) {
  const Json lines = "Resid Start->A1.3.V\nA1.3->Resid End\n";
  const Json r = command(R"("verb": "eval", "random": 0, )" + std::string(kPairs), &lines);
  EXPECT_EQ(edges(r), (std::set<std::string>{"input->a1.h3<v>", "a1.h3->logits"}));
}

TEST(CircuitTools, graphs_for_neuronpedia_are_of_circuits_by_position) {
  const Json by_position = command(kFind + R"(, "method": "eap", "positions": true, "edges": 40, "measure": false)");
  const Json out = command(R"("verb": "export", )" + std::string(kPairs), &by_position);
  EXPECT_EQ(out["metadata"]["prompt_tokens"].size(), 5u);
  EXPECT_FALSE(out["links"].empty());
  const Json whole = command(kFind + R"(, "method": "eap", "edges": 20, "measure": false)");
  EXPECT_NE(refusal(R"("verb": "export", )" + std::string(kPairs), &whole).find("--positions"), std::string::npos);
  EXPECT_NE(refusal(R"("verb": "export", "format": "eap-ig")", &by_position).find("knows no positions"), std::string::npos);
  EXPECT_NE(refusal(R"("verb": "export", "format": "dot")", &whole).find("neuronpedia, eap-ig or auto-circuit"),
            std::string::npos);
  EXPECT_NE(refusal(R"("verb": "export")", &by_position).find("--pairs"), std::string::npos);
}

TEST(CircuitTools, what_cannot_be_meant_is_refused) {
  for (const char* bad :
       {R"("method": "acdc", "edges": 5)", R"("method": "acdc", "select": "ilp")", R"("method": "acdc", "refine": 3)",
        R"("method": "acdc", "tau": -1)", R"("method": "eap", "select": "ilp", "nodes": 4)",
        R"("method": "eap", "select": "ilp", "edges": 4, "time-limit": 0)",
        R"("method": "eap", "select": "ilp", "positions": true)", R"("method": "eap", "select": "best")"})
    EXPECT_NE(refusal(kFind + ", " + bad), "") << bad;
}

TEST(CircuitTools, a_circuit_that_is_malformed_is_a_wrong_field_of_the_request) {
  const Json ours = command(kFind + R"(, "method": "eap", "edges": 25, "measure": false)");
  const auto expect_refused = [&](const Json& file) {
    for (const char* verb : {"eval", "run", "export"}) {
      const std::string rest = fmt::format(R"("verb": "{}", )", verb) + kPairs;
      try {
        command(rest, &file);
        ADD_FAILURE() << dump_json(file).substr(0, 200);
      } catch (const FieldError& e) {
        EXPECT_EQ(e.param(), "circuit");
        EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      }
    }
  };
  for (const char* file : {"5", "\"x\"", "\"/etc/passwd\"", "[]", "{}", "true", "[1]", R"({"edges": []})", R"({"schema": 1})",
                           R"({"refined": {}, "edges": ["A0.1"]})"})
    expect_refused(parse_json(file, "test"));
  for (const char* name :
       {"schema", "model_sha256", "task", "metric", "ablation", "roles", "edges", "scores", "refined", "n_edges"})
    for (const Json& value : {Json(3), Json("x"), Json::array({1}), Json::object({{"n", 1}})}) {
      if (name == std::string_view("task") && value.is_string()) continue;
      Json bad = ours;
      bad[name] = value;
      expect_refused(bad);
    }
}

TEST(CircuitTools, another_tools_file_brings_no_measures_of_ours) {
  const Json theirs = parse_json(R"({"edges": ["A0.1->Resid End"], "refined": {}, "ig_gap": []})", "test");
  const Json r = command(R"("verb": "eval", "random": 0, )" + std::string(kPairs), &theirs);
  EXPECT_FALSE(r.contains("refined") || r.contains("ig_gap"));
}

TEST(CircuitTools, the_prompts_of_a_file_are_checked_under_its_name) {
  Json ours = command(kFind + R"(, "method": "eap", "edges": 25, "measure": false)");
  for (const char* examples : {R"({"task": "no such task"})", R"({"task": "induction", "n": 0})", R"({"task": "pairs"})"}) {
    ours["examples"] = parse_json(examples, "test");
    EXPECT_TRUE(refusal(R"("verb": "eval")", &ours).starts_with("circuit: \"examples\": "))
        << refusal(R"("verb": "eval")", &ours);
  }
}

TEST(CircuitTools, fields_that_would_be_ignored_are_refused) {
  const Json ours = command(kFind + R"(, "method": "eap", "edges": 25, "measure": false)");
  EXPECT_NE(refusal(kFind, &ours).find("find does not use circuit"), std::string::npos);
  for (const char* field : {R"("edges": 5)", R"("method": "eap")", R"("refine": 2)", R"("select": "top")", R"("positions": true)",
                            R"("measure": false)", R"("format": "eap-ig")", R"("tau": 1)"})
    for (const char* verb : {"eval", "run"})
      EXPECT_NE(refusal(fmt::format(R"("verb": "{}", {}, )", verb, field) + kPairs, &ours).find("does not use"),
                std::string::npos)
          << field;
  for (const char* bad :
       {R"("method": "eap", "steps": 5)", R"("method": "eap", "rule": "gauss")", R"("method": "exact", "steps": 2)",
        R"("method": "acdc", "rule": "left")", R"("time-limit": 3)", R"("format": "eap-ig")"})
    EXPECT_NE(refusal(kFind + ", " + bad).find("does not use"), std::string::npos) << bad;
  for (const char* bad :
       {R"("method": "atp", "select": "greedy", "nodes": 3)", R"("select": "threshold", "tau": 0.1, "edges": 3)"})
    EXPECT_NE(refusal(kFind + ", " + bad), "") << bad;
}

}  // namespace
}  // namespace microtome::api
