#include "microtome/circuits/tasks/ordered_class.h"

namespace microtome {

const std::vector<OrderedClass>& ordered_classes() {
  static const std::vector<OrderedClass> all{
      {"days", {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}, true, true},
      {"months",
       {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"},
       true,
       true},
      {"numbers",
       {"one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"},
       false,
       true},
      {"letters", {"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P"}, false, true},
      {"ordinals",
       {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"},
       false,
       false}};
  return all;
}

}  // namespace microtome
