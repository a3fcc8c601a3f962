// The prompt pairs that patch, circuit and heads work on: two prompts with their answers, a list of such pairs, or a task.
//
//   ExamplesOptions options{.task = "ioi", .n = 8};
//   ExampleSet set = read_examples(context, options);
//   set.metric;                                          // the one to use where none is asked for
//   set.examples[0];                                     // Example: ids, answers, named positions
//   const TaskScore score = score_examples(*context.model, set.examples, Metric(set.metric), context.progress);
//   for (const std::string& w : failure_warnings(set, score)) ...
#pragma once

#include "microtome/api/request.h"
#include "microtome/circuits/tasks/score.h"
#include "microtome/circuits/tasks/task.h"

namespace microtome::api {

// A text, or token ids.
struct TextOrIds {
  std::string text;
  std::optional<std::vector<int32_t>> ids;
};

// {clean, corrupted, answer, wrong[, positions]}. Answers and wrong answers may be several, each of one token.
struct PairOptions {
  TextOrIds clean, corrupted;
  std::vector<TextOrIds> answers, wrong;
  std::map<std::string, int> positions;
};

// Exactly one of pairs (one pair: --clean, --corrupted, ...) and task.
struct ExamplesOptions {
  std::vector<PairOptions> pairs;
  std::string where;  // what error messages call the pairs' place; empty: the pair is the options themselves
  std::optional<std::string> task;
  int64_t n = 0;  // prompts of the task; 0: its default
  uint64_t seed = 0;
  bool first_token = false;  // an answer of several tokens counts by its first; else it is refused
  std::optional<bool> bos;   // as in InputOptions
};

struct ExampleSet {
  std::string task;  // the task's name, or "pairs"
  MetricKind metric = MetricKind::kLogitDiff;
  std::vector<Example> examples;
  std::vector<std::string> clean, corrupted;   // texts for people, as many as examples (of ids: the decoded tokens)
  std::vector<std::string> groups;             // template of each example; pairs: all ""
  std::vector<std::vector<int32_t>> controls;  // what mean ablation is over, prompt by prompt of the same group; empty: none
  std::vector<std::string> warnings;
};

// Throws InvalidArgument with the pair's number: sides of different length (with their tokens), answers of several tokens, a
// pair without text; NotFound for a task there is not; what Task::make throws.
ExampleSet read_examples(const Context& context, const ExamplesOptions& options);

// What to tell before conclusions are drawn: that the model fails at this, or that the two sides do not differ.
std::vector<std::string> failure_warnings(const ExampleSet& set, const TaskScore& score);

// One line of a pairs file or one object of a request. `where` begins error messages.
PairOptions pair_from_json(const Json& json, const std::string& where);
// JSON lines; empty lines are skipped. Throws InvalidArgument with the line's number.
std::vector<PairOptions> pairs_from_lines(std::string_view text, const std::string& where);

// The request's fields clean, corrupted, answer, wrong; pairs; task, n, seed; first-token; bos.
ExamplesOptions examples_options(Fields& fields);

}  // namespace microtome::api
