// Task: prompt pairs with known answers, made for the tokenizer of the model at hand.
//
//   const Task& task = find_task("ioi");
//   std::vector<TaskExample> prompts = task.make({model.config(), model.tokenizer()}, task.default_n, /*seed=*/0);
//
// Clean and corrupted sides have equally many tokens, answers are single tokens, and the words that matter have names (S1, IO,
// S2, END, ...) in Example::positions. The same seed makes the same prompts; more of them begin with the fewer. A new task is
// one file with one function, and one line in registry.cc. Thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/circuits/example.h"
#include "microtome/circuits/metric.h"
#include "microtome/text/tokenizer.h"

namespace microtome {

struct TaskExample {
  Example example;
  std::string clean, corrupted;  // the texts, without a beginning-of-text token; empty where the task is made of random tokens
  std::string group;             // its template: prompts of a group say the same thing at the same role
  // The same template about something unrelated (ioi: three different names), of as many tokens: what mean ablation is over.
  // Empty: the task has none.
  std::vector<int32_t> control;
};

// What prompts are made for. `bos`: absent, as the tokenizer does.
struct TaskSource {
  const Config& config;
  const Tokenizer* tokenizer = nullptr;  // null: only tasks of random tokens can be made
  std::optional<bool> bos = {};
};

struct Task {
  std::string_view name, summary;
  MetricKind metric;
  int64_t default_n;
  // n >= 1 prompts. Throws Unsupported where the tokenizer splits the words that the task is about (naming one and its pieces),
  // or there is none; InvalidArgument for more prompts than the task has.
  std::vector<TaskExample> (*make)(const TaskSource& source, int64_t n, uint64_t seed);
};

std::span<const Task> tasks();
// Throws NotFound with the names there are.
const Task& find_task(std::string_view name);

}  // namespace microtome
