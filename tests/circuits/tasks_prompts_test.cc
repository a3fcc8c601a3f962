// Tasks: what their prompts promise, for tokenizers that cut words in different ways.
#include <gtest/gtest.h>

#include "microtome/base/error.h"
#include "microtome/circuits/tasks/prompt.h"
#include "tasks_support.h"

namespace microtome {
namespace {

using tasks_support::model_with;
using tasks_support::task_words;

const Model& model() {
  static const auto m = model_with(task_words(), 3000, 400);
  return *m;
}

TaskSource source_of(const Model& m) { return {m.config(), m.tokenizer()}; }

std::string text_at(const Model& m, const TaskExample& e, const char* role) {
  return m.tokenizer()->decode(std::array{e.example.clean.at(e.example.positions.at(role))});
}

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

class EveryTask : public testing::TestWithParam<std::string> {
 protected:
  const Task& task_ = find_task(GetParam());
};

TEST_P(EveryTask, sides_are_equally_long_and_answers_are_tokens_that_differ) {
  const auto prompts = task_.make(source_of(model()), 24, 1);
  ASSERT_EQ(prompts.size(), 24u);
  for (const TaskExample& e : prompts) {
    check_example(e.example, model().config());
    Metric(task_.metric).check(e.example);
    EXPECT_NE(e.example.clean, e.example.corrupted);
    for (const int32_t a : e.example.answers)
      for (const int32_t w : e.example.wrong) EXPECT_NE(a, w);
    EXPECT_EQ(e.example.positions.at("END"), e.example.length() - 1);
    EXPECT_FALSE(e.group.empty());
  }
}

TEST_P(EveryTask, a_seed_makes_the_same_prompts_and_more_begin_with_the_fewer) {
  const auto many = task_.make(source_of(model()), 20, 5), few = task_.make(source_of(model()), 9, 5);
  for (size_t i = 0; i < few.size(); ++i) {
    EXPECT_EQ(few[i].example.clean, many[i].example.clean);
    EXPECT_EQ(few[i].example.corrupted, many[i].example.corrupted);
    EXPECT_EQ(few[i].example.answers, many[i].example.answers);
    EXPECT_EQ(few[i].control, many[i].control);
  }
  const auto other = task_.make(source_of(model()), 20, 6);
  size_t same = 0;
  for (size_t i = 0; i < other.size(); ++i) same += other[i].example.clean == many[i].example.clean;
  EXPECT_LT(same, other.size());
}

TEST_P(EveryTask, words_that_the_tokenizer_splits_are_refused_with_their_pieces) {
  const auto bytes = model_with({" qq"}, 200, 400);
  const std::string m = message_of([&] { task_.make(source_of(*bytes), 2, 0); });
  if (GetParam() == "induction") {  // random tokens are never split
    EXPECT_EQ(m, "");
    return;
  }
  EXPECT_NE(m.find("task " + GetParam()), std::string::npos) << m;
  EXPECT_NE(m.find("\" + \""), std::string::npos) << m;
}

TEST_P(EveryTask, without_a_tokenizer_only_random_tokens_are_possible) {
  const auto none = model_with({}, 200, 400);
  const std::string m = message_of([&] { task_.make(source_of(*none), 2, 0); });
  if (GetParam() == "induction") EXPECT_EQ(m, "");
  else EXPECT_NE(m.find("no tokenizer"), std::string::npos) << m;
}

TEST_P(EveryTask, no_prompt_is_longer_than_the_context) {
  const auto small = model_with(task_words(), 3000, 8);
  const std::string m = message_of([&] {
    for (const TaskExample& e : task_.make(source_of(*small), 2, 0)) EXPECT_LE(e.example.length(), 8);
  });
  if (!m.empty()) {
    EXPECT_NE(m.find("task " + GetParam()), std::string::npos) << m;
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, EveryTask,
                         testing::Values("ioi", "greater-than", "induction", "capital-of", "gendered-pronoun", "docstring",
                                         "successor", "colour-objects"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST(Tasks, a_name_that_there_is_not_is_refused_with_those_there_are) {
  EXPECT_NE(message_of([] { find_task("iol"); }).find("ioi, greater-than"), std::string::npos);
}

TEST(Ioi, names_are_found_where_they_stand_and_only_the_repeated_one_is_corrupted) {
  for (const TaskExample& e : find_task("ioi").make(source_of(model()), 40, 2)) {
    EXPECT_EQ(text_at(model(), e, "S1"), text_at(model(), e, "S2"));
    EXPECT_NE(text_at(model(), e, "S1"), text_at(model(), e, "IO"));
    EXPECT_EQ(e.example.answers.at(0), e.example.clean[e.example.positions.at("IO")]);
    EXPECT_EQ(e.example.wrong.at(0), e.example.clean[e.example.positions.at("S1")]);
    for (int64_t p = 0; p < e.example.length(); ++p)
      EXPECT_EQ(e.example.clean[p] != e.example.corrupted[p], p == e.example.positions.at("S2"));
    EXPECT_EQ(e.example.corrupted[e.example.positions.at("S2")], e.example.answers[0]);
  }
}

TEST(Ioi, the_first_eight_are_the_fixture) {
  const auto prompts = find_task("ioi").make(source_of(model()), 8, 9);
  EXPECT_EQ(prompts[0].clean, "When John and Mary went to the shops, John gave the bag to");
  EXPECT_EQ(prompts[2].clean, "When Tom and James went to the park, James gave the ball to");
  EXPECT_EQ(prompts[7].clean, "After Martin and Amy went to the park, Martin gave a drink to");
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(prompts[i].corrupted, prompts[i ^ 1].clean);
}

TEST(Ioi, control_prompts_have_three_names_of_which_none_is_in_the_prompt) {
  for (const TaskExample& e : find_task("ioi").make(source_of(model()), 30, 3)) {
    ASSERT_EQ(e.control.size(), e.example.clean.size());
    std::set<int32_t> names;
    for (int64_t p = 0; p < e.example.length(); ++p) {
      const bool name =
          p == e.example.positions.at("S1") || p == e.example.positions.at("IO") || p == e.example.positions.at("S2");
      EXPECT_EQ(e.control[p] != e.example.clean[p], name);
      if (name) names.insert(e.control[p]);
    }
    EXPECT_EQ(names.size(), 3u);
    EXPECT_FALSE(names.contains(e.example.answers[0]) || names.contains(e.example.wrong[0]));
  }
}

TEST(GreaterThan, digit_by_digit_the_next_token_is_the_decade) {
  for (const TaskExample& e : find_task("greater-than").make(source_of(model()), 30, 1)) {
    const int decade = text_at(model(), e, "Y")[0] - '0';
    EXPECT_EQ(std::ssize(e.example.answers), 9 - decade);
    EXPECT_EQ(std::ssize(e.example.wrong), decade);
    EXPECT_EQ(model().tokenizer()->decode(std::array{e.example.corrupted[e.example.positions.at("Y")]}), "0");
    EXPECT_EQ(model().tokenizer()->decode(std::array{e.example.answers[0]}), std::to_string(decade + 1));
  }
}

TEST(GreaterThan, where_two_digits_are_one_token_answers_are_the_years_above) {
  std::vector<std::string> words = task_words();
  for (int y = 0; y < 100; ++y) words.push_back(fmt::format("{:02}", y));
  for (int c = 11; c < 18; ++c) words.push_back(fmt::format(" {}", c));
  const auto pairs = model_with(words);
  for (const TaskExample& e : find_task("greater-than").make(source_of(*pairs), 20, 1)) {
    const int year = std::stoi(text_at(*pairs, e, "YY"));
    EXPECT_EQ(std::ssize(e.example.answers), 99 - year);
    EXPECT_EQ(std::ssize(e.example.wrong), year + 1);
    EXPECT_EQ(pairs->tokenizer()->decode(std::array{e.example.corrupted[e.example.positions.at("YY")]}), "01");
  }
}

TEST(Induction, the_second_half_repeats_the_first_and_the_corrupted_one_repeats_nothing) {
  for (const TaskExample& e : find_task("induction").make(source_of(model()), 4, 1)) {
    const auto half = e.example.length() / 2;
    for (int64_t i = 0; i < half; ++i) EXPECT_EQ(e.example.clean[i], e.example.clean[half + i]);
    EXPECT_TRUE(std::equal(e.example.clean.begin() + half, e.example.clean.end(), e.example.corrupted.begin() + half));
    EXPECT_FALSE(std::equal(e.example.clean.begin(), e.example.clean.begin() + half, e.example.corrupted.begin()));
    EXPECT_EQ(e.example.loss_from, half);
  }
}

TEST(Docstring, the_answer_is_the_argument_after_those_documented) {
  for (const TaskExample& e : find_task("docstring").make(source_of(model()), 10, 1)) {
    EXPECT_EQ(text_at(model(), e, "A2"), text_at(model(), e, "P2"));
    EXPECT_EQ(text_at(model(), e, "A3"), text_at(model(), e, "P3"));
    EXPECT_EQ(e.example.answers.at(0), e.example.clean[e.example.positions.at("A4")]);
    EXPECT_EQ(e.example.wrong.size(), 11u);
    EXPECT_TRUE(e.example.best_wrong);
  }
}

TEST(Successor, the_answer_follows_the_third_in_its_class) {
  const std::vector<std::string> days{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"};
  for (const TaskExample& e : find_task("successor").make(source_of(model()), 20, 1)) {
    if (e.group != "days") continue;
    const std::string third = text_at(model(), e, "THIRD").substr(1);
    const auto at = std::find(days.begin(), days.end(), third) - days.begin();
    EXPECT_EQ(model().tokenizer()->decode(e.example.answers), " " + days[(at + 1) % 7]);
    EXPECT_EQ(e.example.wrong.size(), 6u);
  }
}

TEST(ColourObjects, the_answer_is_the_colour_said_before_the_thing_asked_for) {
  for (const TaskExample& e : find_task("colour-objects").make(source_of(model()), 10, 1)) {
    const std::string asked = text_at(model(), e, "ASKED");
    for (const std::string k : {"0", "1", "2"})
      if (text_at(model(), e, ("O" + k).c_str()) == asked) {
        EXPECT_EQ(e.example.answers.at(0), e.example.clean[e.example.positions.at("C" + k)]);
      }
  }
}

TEST(CapitalOf, the_wrong_answer_is_the_corrupted_countrys_capital) {
  const auto prompts = find_task("capital-of").make(source_of(model()), 30, 1);
  std::map<std::string, int32_t> capital;
  std::set<std::string> templates;
  for (const TaskExample& e : prompts) {
    templates.insert(e.group);
    const std::string subject = e.group.substr(0, e.group.find('{'));
    const auto country = [&](const std::string& text) {
      const size_t begin = subject.size(), end = text.size() - (e.group.size() - e.group.find('}') - 1);
      std::string name = text.substr(begin, end - begin);
      return name.starts_with(' ') ? name.substr(1) : name;
    };
    const auto known = capital.emplace(country(e.clean), e.example.answers[0]);
    EXPECT_EQ(known.first->second, e.example.answers[0]);
    const auto other = capital.emplace(country(e.corrupted), e.example.wrong[0]);
    EXPECT_EQ(other.first->second, e.example.wrong[0]);
  }
  EXPECT_GE(templates.size(), 12u);
}

}  // namespace
}  // namespace microtome
