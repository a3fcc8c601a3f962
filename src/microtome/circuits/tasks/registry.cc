#include <vector>

#include "microtome/base/edit_distance.h"
#include "microtome/base/error.h"
#include "microtome/circuits/tasks/all.h"

namespace microtome {

std::span<const Task> tasks() {
  static constexpr Task kTasks[] = {
      {"ioi", "the other name: When John and Mary went to the shops, John gave the bag to -> Mary", MetricKind::kLogitDiff, 8,
       make_ioi},
      {"greater-than", "a later year: The war lasted from the year 1743 to the year 17 -> 44 or more", MetricKind::kProbDiff, 40,
       make_greater_than},
      {"induction", "random tokens said twice: the second time they are known", MetricKind::kLoss, 8, make_induction},
      {"capital-of", "The capital of Portugal is the city of -> Lisbon", MetricKind::kLogitDiff, 40, make_capital_of},
      {"gendered-pronoun", "So Mary is a really great friend, isn't -> she", MetricKind::kLogitDiff, 20, make_gendered_pronoun},
      {"docstring", "the next argument of a Python function after :param", MetricKind::kLogitDiff, 40, make_docstring},
      {"successor", "what comes next: Monday, Tuesday, Wednesday, -> Thursday", MetricKind::kLogitDiff, 32, make_successor},
      {"colour-objects", "the colour of one of three things on a table", MetricKind::kLogitDiff, 40, make_colour_objects},
  };
  return kTasks;
}

const Task& find_task(std::string_view name) {
  std::string all;
  std::vector<std::string> names;
  for (const Task& t : tasks()) {
    if (t.name == name) return t;
    names.emplace_back(t.name);
    all += (all.empty() ? "" : ", ") + names.back();
  }
  throw Error(ErrorKind::kNotFound, "there is no task \"{}\"{}; the tasks are {}", printable(name), did_you_mean(name, names),
              all);
}

}  // namespace microtome
