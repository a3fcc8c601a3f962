// Operators of the template language.
#pragma once

#include <string_view>
#include <vector>

#include "microtome/text/jinja/meter.h"
#include "microtome/text/jinja/value.h"

namespace microtome::jinja {

Value unary(std::string_view op, const Value& operand, Meter& meter);
Value binary(std::string_view op, const Value& left, const Value& right, Meter& meter);
bool compare(std::string_view op, const Value& left, const Value& right, Meter& meter);
bool contains(const Value& container, const Value& item, Meter& meter);

// object[key]; undefined if there is no such item.
Value item(const Value& object, const Value& key, Meter& meter);
// object[start:stop:step]; none where a part is left out.
Value slice(const Value& object, const Value& start, const Value& stop, const Value& step, Meter& meter);

// What a for loop walks: a list's items, a mapping's keys, a text's characters; nothing for an undefined value.
std::vector<Value> walk(const Value& value, Meter& meter);

}  // namespace microtome::jinja
