#include "microtome/text/jinja/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "microtome/base/utf8.h"

namespace microtome::jinja {
namespace {

// Start of every character, and the end.
std::vector<size_t> characters(std::string_view text) {
  std::vector<size_t> starts;
  for (size_t i = 0; i < text.size();) {
    starts.push_back(i);
    i += std::max<size_t>(1, utf8_length(text.substr(i, 4)));
  }
  starts.push_back(text.size());
  return starts;
}

[[noreturn]] void bad_operands(std::string_view op, const Value& left, const Value& right, const Meter& meter) {
  for (const Value* side : {&left, &right}) {
    if (const Undefined* u = side->as<Undefined>()) meter.invalid(fmt::format("\"{}\" is undefined", printable(u->name())));
  }
  meter.invalid(fmt::format("{} does not work on {} and {}", op, left.kind(), right.kind()));
}

Value integer_result(std::string_view op, int64_t a, int64_t b, Meter& meter) {
  int64_t out = 0;
  bool overflow = false;
  if (op == "+") overflow = __builtin_add_overflow(a, b, &out);
  else if (op == "-") overflow = __builtin_sub_overflow(a, b, &out);
  else if (op == "*") overflow = __builtin_mul_overflow(a, b, &out);
  else if (b == 0) meter.invalid("division by zero");
  else if (b == -1) overflow = op == "//" && __builtin_sub_overflow(int64_t{0}, a, &out);
  else if (op == "//") out = a / b - (a % b != 0 && (a < 0) != (b < 0));
  else out = a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0);
  if (overflow) meter.unsupported("an integer of more than 64 bits");
  return out;
}

Value float_result(std::string_view op, double a, double b, Meter& meter) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (b == 0) meter.invalid("division by zero");
  if (op == "/") return a / b;
  if (op == "//") return std::floor(a / b);
  return a - b * std::floor(a / b);
}

Value repeat(const Value& value, int64_t times, Meter& meter) {
  times = std::max<int64_t>(times, 0);
  if (const MarkedText* text = value.text()) {
    meter.charge(text->size() > 0 && times > (int64_t{1} << 32) ? std::numeric_limits<int64_t>::max()
                                                                : text->size() * static_cast<uint64_t>(times));
    MarkedText out;
    for (int64_t i = 0; i < times && text->size() > 0; ++i) out.append(*text);
    return make_text(std::move(out));
  }
  meter.unsupported(fmt::format("* of {}", value.kind()));
}

// Index of an element counted from the end if negative; false if out of range.
bool resolve(int64_t index, size_t size, size_t& out) {
  const auto n = static_cast<int64_t>(size);
  if (index < -n || index >= n) return false;
  out = static_cast<size_t>(index < 0 ? index + n : index);
  return true;
}

}  // namespace

Value unary(std::string_view op, const Value& operand, Meter& meter) {
  if (op == "not") return !operand.truth();
  int64_t i;
  double d;
  if (operand.integer(i)) return op == "-" ? integer_result("-", 0, i, meter) : Value(i);
  if (operand.number(d)) return op == "-" ? -d : d;
  meter.invalid(fmt::format("{} does not work on {}", op, operand.kind()));
}

Value binary(std::string_view op, const Value& left, const Value& right, Meter& meter) {
  if (op == "~" || (op == "+" && left.text() && right.text())) {
    MarkedText a = to_text(left);
    const MarkedText b = to_text(right);
    meter.charge(a.size() + b.size());
    a.append(b);
    return make_text(std::move(a));
  }
  if (op == "+" && left.list() && right.list()) {
    meter.charge(sizeof(Value) * (left.list()->items.size() + right.list()->items.size()));
    std::vector<Value> items = left.list()->items;
    items.insert(items.end(), right.list()->items.begin(), right.list()->items.end());
    return make_list(std::move(items));
  }
  if (op == "%" && left.text()) meter.unsupported("% on a text");
  int64_t i, j;
  if (left.integer(i) && right.integer(j)) {
    return op == "/" ? float_result(op, static_cast<double>(i), static_cast<double>(j), meter) : integer_result(op, i, j, meter);
  }
  double x, y;
  if (left.number(x) && right.number(y)) return float_result(op, x, y, meter);
  if (op == "*" && right.integer(j) && left.text()) return repeat(left, j, meter);
  if (op == "*" && left.integer(i) && right.text()) return repeat(right, i, meter);
  bad_operands(op, left, right, meter);
}

bool compare(std::string_view op, const Value& left, const Value& right, Meter& meter) {
  if (left.text()) meter.step(left.text()->size());
  if (op == "==") return equal(left, right);
  if (op == "!=") return !equal(left, right);
  if (op == "in") return contains(right, left, meter);
  if (op == "not in") return !contains(right, left, meter);
  const auto decide = [&](const auto& a, const auto& b) {
    return op == "<" ? a < b : op == "<=" ? a <= b : op == ">" ? a > b : a >= b;
  };
  double x, y;
  if (left.number(x) && right.number(y)) return decide(x, y);
  if (left.text() && right.text()) return decide(left.text()->bytes(), right.text()->bytes());
  bad_operands(op, left, right, meter);
}

bool contains(const Value& container, const Value& wanted, Meter& meter) {
  if (const MarkedText* text = container.text()) {
    if (!wanted.text()) meter.invalid(fmt::format("in: looks for {} in a text", wanted.kind()));
    meter.step(text->size());
    return text->bytes().find(wanted.text()->bytes()) != std::string::npos;
  }
  if (const List* list = container.list())
    return std::any_of(list->items.begin(), list->items.end(), [&](const Value& v) { return equal(v, wanted); });
  if (const Dict* dict = container.dict()) return wanted.text() && dict->find(wanted.text()->bytes());
  if (container.is_undefined()) return false;
  meter.invalid(fmt::format("in: {} holds nothing", container.kind()));
}

Value item(const Value& object, const Value& key, Meter& meter) {
  if (const Undefined* u = object.as<Undefined>()) meter.invalid(fmt::format("\"{}\" is undefined", printable(u->name())));
  const std::string name = key.text() ? key.text()->bytes() : to_text(key).bytes();
  if (const Dict* dict = object.dict()) {
    const Value* found = key.text() ? dict->find(name) : nullptr;
    return found ? *found : Value(Undefined{name});
  }
  int64_t index;
  size_t at;
  if (!key.integer(index)) return Undefined{name};
  if (const List* list = object.list()) return resolve(index, list->items.size(), at) ? list->items[at] : Value(Undefined{name});
  if (const MarkedText* text = object.text()) {
    meter.charge(text->size());
    const std::vector<size_t> starts = characters(text->bytes());
    return resolve(index, starts.size() - 1, at) ? make_text(text->slice(starts[at], starts[at + 1])) : Value(Undefined{name});
  }
  return Undefined{name};
}

Value slice(const Value& object, const Value& start, const Value& stop, const Value& step, Meter& meter) {
  const MarkedText* text = object.text();
  const List* list = object.list();
  if (!text && !list) meter.invalid(fmt::format("[:] does not work on {}", object.kind()));
  meter.charge(text ? sizeof(size_t) * text->size() : sizeof(Value) * list->items.size());
  const std::vector<size_t> starts = text ? characters(text->bytes()) : std::vector<size_t>();
  const auto n = static_cast<int64_t>(text ? starts.size() - 1 : list->items.size());

  const auto part = [&](const Value& value, int64_t otherwise) {
    int64_t i = otherwise;
    if (!value.is_none() && !value.integer(i)) meter.invalid(fmt::format("[:] with {}", value.kind()));
    return i;
  };
  const int64_t by = std::clamp<int64_t>(part(step, 1), -n - 1, n + 1);
  if (by == 0) meter.invalid("[::0]");
  // Bounds as Python clips them.
  const auto bound = [&](const Value& value, int64_t otherwise) {
    if (value.is_none()) return otherwise;
    const int64_t i = std::clamp<int64_t>(part(value, 0), -n - 1, n);
    return by > 0 ? std::clamp<int64_t>(i < 0 ? i + n : i, 0, n) : std::clamp<int64_t>(i < 0 ? i + n : i, -1, n - 1);
  };
  const int64_t from = bound(start, by > 0 ? 0 : n - 1), to = bound(stop, by > 0 ? n : -1);
  MarkedText cut;
  std::vector<Value> items;
  for (int64_t i = from; by > 0 ? i < to : i > to; i += by) {
    const auto at = static_cast<size_t>(i);
    if (text) cut.append(text->slice(starts[at], starts[at + 1]));
    else items.push_back(list->items[at]);
  }
  return text ? make_text(std::move(cut)) : make_list(std::move(items));
}

std::vector<Value> walk(const Value& value, Meter& meter) {
  if (const List* list = value.list()) {
    meter.charge(sizeof(Value) * list->items.size());
    return list->items;
  }
  std::vector<Value> out;
  if (const Dict* dict = value.dict(); dict && !dict->is_namespace) {
    meter.charge(sizeof(Value) * dict->items.size());
    for (const auto& entry : dict->items) out.push_back(make_text(entry.first));
  } else if (const MarkedText* text = value.text()) {
    meter.charge(200 * text->size());
    const std::vector<size_t> starts = characters(text->bytes());
    for (size_t i = 0; i + 1 < starts.size(); ++i) out.push_back(make_text(text->slice(starts[i], starts[i + 1])));
  } else if (!value.is_undefined()) {
    meter.invalid(fmt::format("{} cannot be walked through", value.kind()));
  }
  return out;
}

}  // namespace microtome::jinja
