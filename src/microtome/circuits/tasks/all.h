// The tasks' makers, for registry.cc (task.h has their contract).
#pragma once

#include "microtome/circuits/tasks/task.h"

namespace microtome {

std::vector<TaskExample> make_ioi(const TaskSource& source, int64_t n, uint64_t seed);

}  // namespace microtome
