// The tasks' makers, for registry.cc (task.h has their contract).
#pragma once

#include "microtome/circuits/tasks/task.h"

namespace microtome {

std::vector<TaskExample> make_ioi(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_greater_than(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_induction(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_capital_of(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_gendered_pronoun(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_docstring(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_successor(const TaskSource& source, int64_t n, uint64_t seed);
std::vector<TaskExample> make_colour_objects(const TaskSource& source, int64_t n, uint64_t seed);

}  // namespace microtome
