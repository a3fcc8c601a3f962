#include "microtome/base/error.h"
#include "microtome/circuits/tasks/all.h"

namespace microtome {

std::span<const Task> tasks() {
  static constexpr Task kTasks[] = {
      {"ioi", "indirect object: \"When John and Mary went to the shops, John gave the bag to\" -> \" Mary\"",
       MetricKind::kLogitDiff, 8, make_ioi},
  };
  return kTasks;
}

const Task& find_task(std::string_view name) {
  std::string all;
  for (const Task& t : tasks()) {
    if (t.name == name) return t;
    all += (all.empty() ? "" : ", ") + std::string(t.name);
  }
  throw Error(ErrorKind::kNotFound, "there is no task \"{}\"; the tasks are {}", printable(name), all);
}

}  // namespace microtome
