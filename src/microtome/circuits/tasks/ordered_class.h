// Words that follow one another: days, months, numbers, letters, ordinals. What the successor task asks for, and what successor
// heads are looked for with.
#pragma once

#include <vector>

namespace microtome {

struct OrderedClass {
  const char* name;
  std::vector<const char*> members;
  bool cyclic;     // after the last comes the first
  bool in_a_list;  // people write "Monday, Tuesday, Wednesday,": a task can be made of it
};

const std::vector<OrderedClass>& ordered_classes();

}  // namespace microtome
