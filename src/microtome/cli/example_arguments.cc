#include "microtome/cli/example_arguments.h"

#include "microtome/base/error.h"
#include "microtome/base/file.h"

namespace microtome::cli {
namespace {

constexpr uint64_t kMostPairsBytes = uint64_t{64} << 20;

}  // namespace

void ExampleArguments::declare(OptionSet& options) {
  options.group("Prompts");
  options.text("--clean", "TEXT", "the prompt that the model answers rightly", clean_);
  options.text("--corrupted", "TEXT", "the same, changed in what matters; as many tokens", corrupted_);
  options.texts("--answer", "TOKEN", "its right answer, with the space before it: ' Mary', or #id", answers_);
  options.texts("--wrong", "TOKEN", "what the corrupted prompt is answered with", wrong_);
  options.text("--pairs", "F.jsonl",
               "a file of such pairs, one object {clean, corrupted, answer, wrong} a line, each text or ids", pairs_,
               OptionSet::Value::kFile);
  options.text("--task", "NAME", "prompts with known answers; `microtome tasks MODEL` lists them", task_);
  options.integer("--n", "N", "prompts of the task (default: its own number)", n_, 1, 10'000);
  options.flag("--first-token", "score an answer of several tokens by its first", first_token_);
  options.flag("--bos", "put the beginning-of-text token before each prompt", bos_, true);
  options.flag("--no-bos", "do not", bos_, false);
}

api::ExamplesOptions ExampleArguments::read(int64_t seed) const {
  api::ExamplesOptions o{.task = task_, .n = n_, .seed = static_cast<uint64_t>(seed), .first_token = first_token_, .bos = bos_};
  const bool one = clean_ || corrupted_ || !answers_.empty() || !wrong_.empty();
  if (one + pairs_.has_value() + task_.has_value() > 1)
    throw Error(ErrorKind::kInvalidArgument, "several kinds of prompts: give one of --clean with --corrupted, --pairs, --task");
  if (n_ > 0 && !task_) throw Error(ErrorKind::kInvalidArgument, "--n counts a task's prompts; name one with --task");
  if (pairs_) {
    o.where = *pairs_ == "-" ? "standard input" : *pairs_;
    o.pairs = api::pairs_from_lines(
        *pairs_ == "-" ? read_file(*pairs_, kMostPairsBytes) : read_regular_file(*pairs_, kMostPairsBytes), o.where);
  }
  if (!one) return o;
  for (const auto& [side, name] : {std::pair{&clean_, "--clean"}, {&corrupted_, "--corrupted"}})
    if (!*side) throw Error(ErrorKind::kInvalidArgument, "{} is missing; a pair needs --clean and --corrupted", name);
  api::PairOptions pair{.clean = {.text = *clean_}, .corrupted = {.text = *corrupted_}};
  for (const std::string& a : answers_) pair.answers.push_back({.text = a});
  for (const std::string& w : wrong_) pair.wrong.push_back({.text = w});
  o.pairs.push_back(std::move(pair));
  return o;
}

}  // namespace microtome::cli
