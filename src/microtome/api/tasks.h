// `tasks`: the tasks with known answers, made for the model at hand, with how often it is right.
//
//   Json all = tasks(context, {});                               // {model, tasks[{name, n, metric, clean, corrupted, accuracy,
//   ok}]} Json ioi = tasks(context, {.show = "ioi", .n = 4});          // {model, prompts[{clean, corrupted, answer, wrong,
//   positions{}}]}
#pragma once

#include "microtome/api/request.h"

namespace microtome::api {

struct TasksOptions {
  std::optional<std::string> show;  // one task's prompts instead of the list
  int64_t n = 0;                    // prompts of each task; 0: its own number
  uint64_t seed = 0;
  std::optional<bool> bos;
};
TasksOptions tasks_options(const Json& request);

// Listed tasks also have `summary, chance` and, where the task cannot be made for this model, null figures and `reason`. Shown
// prompts can be read back as pairs: one answer is a text (or, without a tokenizer, ids), several are a list of them.
Json tasks(const Context& context, const TasksOptions& options);

}  // namespace microtome::api
