// Prompt pairs as commands read them, and how often a model is right on them.
#include "microtome/api/examples.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "../circuits/tasks_support.h"
#include "microtome/api/tasks.h"
#include "microtome/base/file.h"
#include "microtome/circuits/sweep.h"

namespace microtome::api {
namespace {

using tasks_support::model_with;
using tasks_support::task_words;

const Context& context() {
  static const Context c{.model = model_with(task_words(), 3000, 400), .name = "tiny"};
  return c;
}

ExampleSet read(const std::string& body) {
  const Json request = parse_json(body, "test");
  Fields fields(request);
  const ExamplesOptions options = examples_options(fields);
  fields.finish();
  return read_examples(context(), options);
}

std::string refusal(const std::string& body) {
  try {
    read(body);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Examples, one_pair_has_its_ids_answers_and_end) {
  const ExampleSet set = read(R"({"clean": " John went", "corrupted": " Mary went", "answer": " Mary", "wrong": " John"})");
  ASSERT_EQ(set.examples.size(), 1u);
  const Example& e = set.examples[0];
  EXPECT_EQ(e.clean.size(), 2u);
  EXPECT_EQ(e.answers, std::vector<int32_t>{*context().model->tokenizer()->find(" Mary")});
  EXPECT_EQ(e.positions.at("END"), 1);
  EXPECT_EQ(set.clean[0], " John went");
}

TEST(Examples, ids_and_lists_of_answers_are_read) {
  const ExampleSet set = read(
      R"({"pairs": [{"clean": [5, 6, 7], "corrupted": [5, 8, 7], "answer": [9], "wrong": 10, "positions": {"S": 1}},
                    {"clean": [5, 6], "corrupted": [5, 8], "answer": [" Mary", [3]], "wrong": "#4"}]})");
  EXPECT_EQ(set.examples[0].clean, (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(set.examples[0].wrong, std::vector<int32_t>{10});
  EXPECT_EQ(set.examples[0].positions.at("S"), 1);
  EXPECT_EQ(set.examples[1].answers.size(), 2u);
  EXPECT_EQ(set.examples[1].answers[1], 3);
  EXPECT_EQ(set.examples[1].wrong, std::vector<int32_t>{4});
}

TEST(Examples, sides_of_different_length_are_refused_with_their_tokens) {
  const std::string m = refusal(R"({"clean": " John went", "corrupted": " Mary xwent", "answer": " Mary", "wrong": " John"})");
  EXPECT_NE(m.find("2 tokens"), std::string::npos) << m;
  EXPECT_NE(m.find("\" John\" \" went\""), std::string::npos) << m;
}

TEST(Examples, an_answer_of_several_tokens_counts_by_its_first_only_when_asked) {
  const std::string pair = R"("clean": " John went", "corrupted": " Mary went", "answer": " Mary gave", "wrong": " John")";
  const std::string m = refusal("{" + pair + "}");
  EXPECT_NE(m.find("not one token but 2"), std::string::npos) << m;
  EXPECT_NE(m.find("--first-token"), std::string::npos) << m;
  const ExampleSet set = read("{" + pair + R"(, "first-token": true})");
  EXPECT_EQ(set.examples[0].answers[0], *context().model->tokenizer()->find(" Mary"));
}

TEST(Examples, what_cannot_be_meant_is_refused) {
  EXPECT_NE(refusal("{}").find("no prompts"), std::string::npos);
  EXPECT_NE(refusal(R"({"clean": "a"})").find("\"corrupted\" is missing"), std::string::npos);
  EXPECT_NE(refusal(R"({"pairs": []})").find("\"pairs\""), std::string::npos);
  EXPECT_NE(refusal(R"({"pairs": [{"clean": "a"}]})").find("lacks \"corrupted\""), std::string::npos);
  EXPECT_NE(refusal(R"({"task": "ioi", "clean": "a", "corrupted": "b"})").find("both a task"), std::string::npos);
  EXPECT_NE(refusal(R"({"task": "iol"})").find("there is no task"), std::string::npos);
  EXPECT_NE(refusal(R"({"task": "ioi", "n": 0})").find("\"n\""), std::string::npos);
  const auto pair = [](const std::string& more) { return R"({"clean": [1, 2], "corrupted": [1, 3])" + more + "}"; };
  EXPECT_NE(refusal(pair(R"(, "answer": [5], "wrong": [5])")).find("answer too"), std::string::npos);
  EXPECT_NE(refusal(pair(R"(, "answer": [99999])")).find("outside of the vocabulary"), std::string::npos);
  EXPECT_NE(refusal(pair(R"(, "answer": {"a": 1})")).find("neither a text nor"), std::string::npos);
  EXPECT_NE(refusal(pair(R"(, "answer": [-1])")).find("not a token id"), std::string::npos);
  EXPECT_NE(refusal(R"({"pairs": [{"clean": [1], "corrupted": [2], "positions": {"S": 4}}]})").find("role \"S\""),
            std::string::npos);
  EXPECT_NE(refusal(R"({"clean": "", "corrupted": ""})").find("empty"), std::string::npos);
}

TEST(Examples, lines_of_a_file_are_counted_in_errors) {
  EXPECT_EQ(pairs_from_lines("{\"clean\": \"a\", \"corrupted\": \"b\"}\n\n{\"clean\": \"c\", \"corrupted\": \"d\"}", "F").size(),
            2u);
  const auto message = [](const char* text) {
    try {
      pairs_from_lines(text, "F");
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_NE(message("\n{\"clean\"").find("F, line 2"), std::string::npos);
  EXPECT_NE(message("[1]").find("F, line 1"), std::string::npos);
  EXPECT_NE(message("").find("no pairs"), std::string::npos);
}

TEST(Examples, a_forgotten_space_is_warned_about) {
  EXPECT_EQ(read(R"({"clean": " John went", "corrupted": " Mary went", "answer": " Mary"})").warnings.size(), 0u);
  const auto set = read(R"({"clean": " John went", "corrupted": " Mary went", "answer": "M"})");
  ASSERT_EQ(set.warnings.size(), 1u);
  EXPECT_NE(set.warnings[0].find("did you mean \" M\""), std::string::npos);
}

TEST(Examples, a_tasks_controls_come_with_it) {
  const ExampleSet set = read(R"({"task": "ioi", "n": 6, "seed": 3})");
  EXPECT_EQ(set.examples.size(), 6u);
  EXPECT_EQ(set.controls.size(), 6u);
  EXPECT_EQ(set.groups.size(), 6u);
  EXPECT_TRUE(read(R"({"task": "successor", "n": 6})").controls.empty());
}

TEST(Tasks, scores_are_those_of_prompts_run_alone) {
  for (const char* name : {"ioi", "greater-than", "induction", "docstring"}) {
    const ExampleSet set = read(fmt::format(R"({{"task": "{}", "n": 5}})", name));
    const Metric metric(set.metric);
    const TaskScore score = score_examples(*context().model, set.examples, metric);
    for (size_t i = 0; i < set.examples.size(); ++i) {
      const Example& e = set.examples[i];
      const auto alone = [&](const std::vector<int32_t>& ids) {
        return metric.value(e, run_alone(*context().model, {ids, metric.positions(e), metric.columns(e)}, {}));
      };
      EXPECT_NEAR(score.clean[i], alone(e.clean), 1e-5) << name;
      EXPECT_NEAR(score.corrupted[i], alone(e.corrupted), 1e-5) << name;
      if (set.metric == MetricKind::kLogitDiff) {
        EXPECT_EQ(score.right[i], alone(e.clean) > 0) << name;
      }
    }
  }
}

TEST(Tasks, a_random_model_fails_and_is_warned_about) {
  const ExampleSet set = read(R"({"task": "docstring", "n": 30})");
  const TaskScore score = score_examples(*context().model, set.examples, Metric(set.metric));
  EXPECT_FALSE(score.ok);
  EXPECT_NEAR(score.chance, 1.0 / 12, 1e-12);
  EXPECT_FALSE(failure_warnings(set, score).empty());
}

TEST(Tasks, sides_that_do_not_differ_are_warned_about) {
  const ExampleSet set = read(R"({"pairs": [{"clean": [1, 2, 3], "corrupted": [1, 2, 3], "answer": [4], "wrong": [5]}]})");
  TaskScore score = score_examples(*context().model, set.examples, Metric(MetricKind::kLogitDiff));
  score.ok = true;
  ASSERT_EQ(failure_warnings(set, score).size(), 1u);
  EXPECT_NE(failure_warnings(set, score)[0].find("no difference"), std::string::npos);
}

TEST(Tasks, shown_prompts_can_be_read_back_as_pairs) {
  for (const char* name : {"ioi", "greater-than", "docstring", "successor"}) {
    const ExampleSet set = read(fmt::format(R"({{"task": "{}", "n": 4}})", name));
    const Json shown = tasks(context(), tasks_options({{"show", name}, {"n", 4}}));
    const ExampleSet again = read(dump_json({{"pairs", shown["prompts"]}}));
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(again.examples[i].clean, set.examples[i].clean);
      EXPECT_EQ(again.examples[i].answers, set.examples[i].answers);
      EXPECT_EQ(again.examples[i].wrong, set.examples[i].wrong);
      EXPECT_EQ(again.examples[i].positions, set.examples[i].positions);
    }
  }
}

TEST(Tasks, the_list_has_every_task_and_says_why_one_cannot_be_made) {
  const Context none{.model = model_with({}, 200, 400), .name = "ids"};
  const Json list = tasks(none, tasks_options({{"n", 2}}));
  ASSERT_EQ(list["tasks"].size(), microtome::tasks().size());
  for (const Json& t : list["tasks"]) {
    const bool made = t["name"] == "induction";
    EXPECT_EQ(t["clean"].is_null(), !made);
    EXPECT_EQ(t.contains("reason"), !made);
  }
}

// What the specification says of the default model (circuits specification, section 10a).
class DefaultModelTasks : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path path = data_home() / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
    static std::shared_ptr<const Model> model;
    if (!model) model = Model::load(path);
    context_ = {.model = model, .name = "default"};
  }
  TaskScore score(const char* task, int64_t n) const {
    ExamplesOptions options;
    options.task = task;
    options.n = n;
    const ExampleSet set = read_examples(context_, options);
    return score_examples(*context_.model, set.examples, Metric(set.metric), nullptr, std::string_view(task) == "ioi");
  }
  Context context_;
};

TEST_F(DefaultModelTasks, indirect_objects_are_found) {
  const TaskScore s = score("ioi", 8);
  EXPECT_NEAR(s.mean_clean, 5.180, 2e-3);
  EXPECT_NEAR(s.mean_corrupted, -5.180, 2e-3);
  EXPECT_EQ(s.accuracy, 1);
}

TEST_F(DefaultModelTasks, pronouns_are_right_and_colours_of_things_are_not) {
  EXPECT_EQ(score("gendered-pronoun", 20).accuracy, 1);
  EXPECT_FALSE(score("colour-objects", 20).ok);
}

TEST_F(DefaultModelTasks, arguments_and_successors_are_mostly_right) {
  EXPECT_NEAR(score("docstring", 20).accuracy, .8, .15);
  EXPECT_NEAR(score("successor", 24).accuracy, .87, .13);
}

}  // namespace
}  // namespace microtome::api
