// Filters, tests, functions and methods of the template language; parser.h lists them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "microtome/text/jinja/meter.h"
#include "microtome/text/jinja/value.h"

namespace microtome::jinja {

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // The argument at `index` or called `name`; nullptr if absent.
  const Value* find(size_t index, std::string_view name) const;
};

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, Meter& meter);
bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, Meter& meter);

bool is_function(std::string_view name);
// All but `namespace`, which the evaluator makes.
Value call_function(std::string_view name, const Arguments& arguments, Meter& meter);

bool is_method(const Value& self, std::string_view name);
Value call_method(std::string_view name, const Value& self, const Arguments& arguments, Meter& meter);

}  // namespace microtome::jinja
