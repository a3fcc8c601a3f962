#include "microtome/text/jinja/builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <functional>

#include "microtome/base/utf8.h"
#include "microtome/text/jinja/operators.h"
#include "microtome/text/jinja/text_methods.h"

namespace microtome::jinja {
namespace {

using Function = Value (*)(const Value& value, const Arguments& arguments, Meter& meter);
struct Named {
  std::string_view name;
  Function function;
};

template <size_t N>
const Named* find(const Named (&table)[N], std::string_view name) {
  const Named* found = std::find_if(std::begin(table), std::end(table), [&](const Named& n) { return n.name == name; });
  return found == std::end(table) ? nullptr : found;
}

// ---- arguments ----

MarkedText need_text(const Value& value, Meter& meter) {
  if (const Undefined* u = value.as<Undefined>(); u && !u->name().empty()) return {};
  MarkedText text = to_text(value);
  meter.charge(text.size());
  return text;
}

std::optional<std::string> text_argument(const Arguments& arguments, size_t index, std::string_view name, Meter& meter) {
  const Value* value = arguments.find(index, name);
  if (!value || value->is_none()) return std::nullopt;
  if (!value->text()) meter.invalid(fmt::format("argument \"{}\" is {}, not a text", name, value->kind()));
  return value->text()->bytes();
}

int64_t integer_argument(const Arguments& arguments, size_t index, std::string_view name, int64_t otherwise, Meter& meter) {
  const Value* value = arguments.find(index, name);
  int64_t i = otherwise;
  if (value && !value->is_none() && !value->integer(i))
    meter.invalid(fmt::format("argument \"{}\" is {}, not an integer", name, value->kind()));
  return i;
}

// ---- filters over lists ----

// The item at a dotted path.
Value attribute_of(Value value, std::string_view path, Meter& meter) {
  while (!path.empty()) {
    const size_t dot = std::min(path.find('.'), path.size());
    value = item(value, make_text(path.substr(0, dot)), meter);
    path.remove_prefix(std::min(dot + 1, path.size()));
  }
  return value;
}

Value map(const Value& value, const Arguments& arguments, Meter& meter) {
  const auto attribute = text_argument(arguments, SIZE_MAX, "attribute", meter);
  const Value* otherwise = arguments.find(SIZE_MAX, "default");
  const auto filter = attribute ? std::nullopt : text_argument(arguments, 0, "filter", meter);
  if (!attribute && !filter) meter.invalid("map needs a filter or attribute=");
  Arguments rest;
  if (filter) rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
  std::vector<Value> out;
  for (const Value& each : walk(value, meter)) {
    meter.step();
    Value mapped = attribute ? attribute_of(each, *attribute, meter) : apply_filter(*filter, each, rest, meter);
    out.push_back(mapped.is_undefined() && otherwise ? *otherwise : std::move(mapped));
  }
  return make_list(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value keep_if(const Value& value, const Arguments& arguments, bool by_attribute, bool wanted, Meter& meter) {
  const size_t first = by_attribute ? 1 : 0;
  const auto attribute = by_attribute ? text_argument(arguments, 0, "attribute", meter) : std::nullopt;
  if (by_attribute && !attribute) meter.invalid("selectattr and rejectattr need the name of an attribute");
  const auto test = text_argument(arguments, first, "test", meter);
  Arguments rest;
  if (test) rest.positional.assign(arguments.positional.begin() + static_cast<ptrdiff_t>(first) + 1, arguments.positional.end());
  std::vector<Value> out;
  for (const Value& each : walk(value, meter)) {
    meter.step();
    const Value tested = attribute ? attribute_of(each, *attribute, meter) : each;
    if ((test ? apply_test(*test, tested, rest, meter) : tested.truth()) == wanted) out.push_back(each);
  }
  return make_list(std::move(out));
}

Value join(const Value& value, const Arguments& arguments, Meter& meter) {
  const Value* between = arguments.find(0, "d");
  const MarkedText separator = between ? to_text(*between) : MarkedText();
  const auto attribute = text_argument(arguments, 1, "attribute", meter);
  MarkedText out;
  bool first = true;
  for (const Value& each : walk(value, meter)) {
    const MarkedText text = to_text(attribute ? attribute_of(each, *attribute, meter) : each);
    meter.charge(text.size() + separator.size());
    if (!first) out.append(separator);
    out.append(text);
    first = false;
  }
  return make_text(std::move(out));
}

Value length(const Value& value, const Arguments&, Meter& meter) {
  if (const List* list = value.list()) return static_cast<int64_t>(list->items.size());
  if (const Dict* dict = value.dict()) return static_cast<int64_t>(dict->items.size());
  if (const MarkedText* text = value.text()) {
    meter.step(text->size());
    int64_t n = 0;
    for (size_t i = 0; i < text->size(); ++n) i += std::max<size_t>(1, utf8_length(std::string_view(text->bytes()).substr(i, 4)));
    return n;
  }
  if (value.is_undefined()) return int64_t{0};
  meter.invalid(fmt::format("{} has no length", value.kind()));
}

Value pairs(const Value& value, const Arguments&, Meter& meter) {
  if (value.is_undefined()) return make_list({});
  const Dict* dict = value.dict();
  if (!dict) meter.invalid(fmt::format("items of {}, expected a mapping", value.kind()));
  std::vector<Value> out;
  meter.charge(200 * dict->items.size());
  for (const auto& [key, each] : dict->items) out.push_back(make_list({make_text(key), each}));
  return make_list(std::move(out));
}

Value end_of(const Value& value, bool last, Meter& meter) {
  const std::vector<Value> all = walk(value, meter);
  if (all.empty()) return Undefined{last ? "last item" : "first item"};
  return last ? all.back() : all.front();
}

Value unique(const Value& value, const Arguments&, Meter& meter) {
  std::vector<Value> out;
  for (const Value& each : walk(value, meter)) {
    meter.step(64 * out.size());
    if (std::none_of(out.begin(), out.end(), [&](const Value& v) { return equal(v, each); })) out.push_back(each);
  }
  return make_list(std::move(out));
}

// ---- filters over one value ----

Value json(const Value& value, const Arguments& arguments, Meter& meter) {
  for (const auto& [name, unused] : arguments.named) {
    if (name != "indent" && name != "ensure_ascii") meter.unsupported(fmt::format("tojson({}=...)", printable(name)));
  }
  const int64_t indent = integer_argument(arguments, SIZE_MAX, "indent", -1, meter);
  if (indent > 16) meter.unsupported("an indent of more than 16");
  MarkedText out;
  if (!to_json(value, static_cast<int>(std::max<int64_t>(indent, -1)), out))
    meter.invalid(fmt::format("tojson of {}", value.kind()));
  meter.charge(out.size());
  return make_text(std::move(out));
}

Value number(const Value& value, bool real, Meter& meter) {
  double d = 0;
  int64_t i = 0;
  if (value.integer(i)) return real ? Value(static_cast<double>(i)) : Value(i);
  if (!value.number(d) && value.text()) {
    const std::string text = strip(*value.text(), true, true, std::nullopt).bytes();
    const auto read = std::from_chars(text.data(), text.data() + text.size(), d);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) d = 0;
  }
  if (real) return d;
  if (!(std::fabs(d) < 9e18)) meter.unsupported("an integer of more than 64 bits");
  return static_cast<int64_t>(d);
}

Value replaced(const Value& value, const Arguments& arguments, Meter& meter) {
  const auto from = text_argument(arguments, 0, "old", meter);
  const Value* to = arguments.find(1, "new");
  if (!from || !to || !to->text()) meter.invalid("replace needs two texts");
  if (from->empty()) meter.unsupported("replace of an empty text");
  const MarkedText text = need_text(value, meter);
  size_t hits = 0;
  for (size_t at = text.bytes().find(*from); at != std::string::npos; at = text.bytes().find(*from, at + from->size())) ++hits;
  meter.charge(text.size() + hits * to->text()->size());
  return make_text(replace(text, *from, *to->text(), integer_argument(arguments, 2, "count", -1, meter)));
}

Value reversed(const Value& value, const Arguments&, Meter& meter) {
  if (value.text()) return slice(value, None{}, None{}, int64_t{-1}, meter);
  std::vector<Value> all = walk(value, meter);
  std::reverse(all.begin(), all.end());
  return make_list(std::move(all));
}

Value defaulted(const Value& value, const Arguments& arguments, Meter&) {
  const Value* otherwise = arguments.find(0, "default_value");
  const Value* if_false = arguments.find(1, "boolean");
  const bool use = value.is_undefined() || (if_false && if_false->truth() && !value.truth());
  return use ? (otherwise ? *otherwise : make_text("")) : value;
}

template <Case to>
Value cased(const Value& value, const Arguments&, Meter& meter) {
  return make_text(change_case(need_text(value, meter), to));
}

template <bool left, bool right>
Value stripped(const Value& value, const Arguments& arguments, Meter& meter) {
  const auto characters = text_argument(arguments, 0, "chars", meter);
  return make_text(strip(need_text(value, meter), left, right, characters));
}

constexpr Named kFilters[] = {
    {"capitalize", cased<Case::kCapitalize>},
    {"count", length},
    {"d", defaulted},
    {"default", defaulted},
    {"first", [](const Value& v, const Arguments&, Meter& m) { return end_of(v, false, m); }},
    {"float", [](const Value& v, const Arguments&, Meter& m) { return number(v, true, m); }},
    {"int", [](const Value& v, const Arguments&, Meter& m) { return number(v, false, m); }},
    {"items", pairs},
    {"join", join},
    {"last", [](const Value& v, const Arguments&, Meter& m) { return end_of(v, true, m); }},
    {"length", length},
    {"list", [](const Value& v, const Arguments&, Meter& m) { return make_list(walk(v, m)); }},
    {"lower", cased<Case::kLower>},
    {"map", map},
    {"reject", [](const Value& v, const Arguments& a, Meter& m) { return keep_if(v, a, false, false, m); }},
    {"rejectattr", [](const Value& v, const Arguments& a, Meter& m) { return keep_if(v, a, true, false, m); }},
    {"replace", replaced},
    {"reverse", reversed},
    {"safe", [](const Value& v, const Arguments&, Meter& m) { return make_text(need_text(v, m)); }},
    {"select", [](const Value& v, const Arguments& a, Meter& m) { return keep_if(v, a, false, true, m); }},
    {"selectattr", [](const Value& v, const Arguments& a, Meter& m) { return keep_if(v, a, true, true, m); }},
    {"string", [](const Value& v, const Arguments&, Meter& m) { return make_text(need_text(v, m)); }},
    {"title", cased<Case::kWords>},
    {"tojson", json},
    {"trim", stripped<true, true>},
    {"unique", unique},
    {"upper", cased<Case::kUpper>},
};

// ---- methods ----

template <bool from_right>
Value split_method(const Value& self, const Arguments& arguments, Meter& meter) {
  const auto separator = text_argument(arguments, 0, "sep", meter);
  if (separator && separator->empty()) meter.invalid("split at an empty text");
  if (!separator && from_right) meter.unsupported("rsplit without a separator");
  meter.charge(100 * self.text()->size());
  std::vector<Value> out;
  const auto at = separator ? std::optional<std::string_view>(*separator) : std::nullopt;
  for (MarkedText& part : split(*self.text(), at, integer_argument(arguments, 1, "maxsplit", -1, meter), from_right))
    out.push_back(make_text(std::move(part)));
  return make_list(std::move(out));
}

// The text, or any of the texts of a tuple, stands at the start or end.
Value stands_at(const Value& self, const Arguments& arguments, bool start, Meter& meter) {
  const Value* wanted = arguments.find(0, "prefix");
  if (!wanted || !(wanted->text() || wanted->list())) meter.invalid("startswith and endswith need a text");
  const std::string& text = self.text()->bytes();
  const auto stands = [&](const Value& v) {
    return v.text() && (start ? text.starts_with(v.text()->bytes()) : text.ends_with(v.text()->bytes()));
  };
  return wanted->text() ? stands(*wanted) : std::any_of(wanted->list()->items.begin(), wanted->list()->items.end(), stands);
}

constexpr Named kTextMethods[] = {
    {"capitalize", cased<Case::kCapitalize>},
    {"endswith", [](const Value& v, const Arguments& a, Meter& m) { return stands_at(v, a, false, m); }},
    {"lower", cased<Case::kLower>},
    {"lstrip", stripped<true, false>},
    {"replace", replaced},
    {"rsplit", split_method<true>},
    {"rstrip", stripped<false, true>},
    {"split", split_method<false>},
    {"startswith", [](const Value& v, const Arguments& a, Meter& m) { return stands_at(v, a, true, m); }},
    {"strip", stripped<true, true>},
    {"title", cased<Case::kTitle>},
    {"upper", cased<Case::kUpper>},
};

Value get(const Value& self, const Arguments& arguments, Meter& meter) {
  const Value* key = arguments.find(0, "key");
  if (!key) meter.invalid("get needs a key");
  const Value* found = key->text() ? self.dict()->find(key->text()->bytes()) : nullptr;
  const Value* otherwise = arguments.find(1, "default");
  return found ? *found : otherwise ? *otherwise : Value(None{});
}

Value values(const Value& self, const Arguments&, Meter& meter) {
  meter.charge(sizeof(Value) * self.dict()->items.size());
  std::vector<Value> out;
  for (const auto& entry : self.dict()->items) out.push_back(entry.second);
  return make_list(std::move(out));
}

constexpr Named kDictMethods[] = {
    {"get", get},
    {"items", pairs},
    {"keys", [](const Value& v, const Arguments&, Meter& m) { return make_list(walk(v, m)); }},
    {"values", values},
};

const Named* method(const Value& self, std::string_view name) {
  if (self.text()) return find(kTextMethods, name);
  if (self.dict() && !self.dict()->is_namespace) return find(kDictMethods, name);
  return nullptr;
}

// ---- functions ----

Value range(const Arguments& arguments, Meter& meter) {
  const bool one = arguments.positional.size() < 2;
  const int64_t start = one ? 0 : integer_argument(arguments, 0, "start", 0, meter);
  const int64_t stop = integer_argument(arguments, one ? 0 : 1, "stop", 0, meter);
  const int64_t step = integer_argument(arguments, 2, "step", 1, meter);
  if (step == 0) meter.invalid("range with step 0");
  std::vector<Value> out;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    meter.charge(sizeof(Value));
    out.push_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return make_list(std::move(out));
}

Value format_time(const Arguments& arguments, Meter& meter) {
  const auto format = text_argument(arguments, 0, "format", meter);
  if (!format) meter.invalid("strftime_now needs a format");
  if (format->empty()) return make_text("");
  const auto now = static_cast<time_t>(meter.now != 0 ? meter.now : std::time(nullptr));
  std::tm local{};
  localtime_r(&now, &local);
  std::string out(64 + 16 * format->size(), '\0');
  out.resize(std::strftime(out.data(), out.size(), format->c_str(), &local));
  return make_text(out);
}

}  // namespace

const Value* Arguments::find(size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  const auto found = std::find_if(named.begin(), named.end(), [&](const auto& n) { return n.first == name; });
  return found == named.end() ? nullptr : &found->second;
}

Value apply_filter(std::string_view name, const Value& value, const Arguments& arguments, Meter& meter) {
  const Named* filter = find(kFilters, name);
  if (!filter) meter.unsupported(fmt::format("the filter \"{}\"", printable(name, 40)));
  return filter->function(value, arguments, meter);
}

bool apply_test(std::string_view name, const Value& value, const Arguments& arguments, Meter& meter) {
  int64_t i = 0;
  double d;
  if (name == "defined") return !value.is_undefined();
  if (name == "undefined") return value.is_undefined();
  if (name == "none") return value.is_none();
  if (name == "boolean") return value.as<bool>();
  if (name == "true") return value.as<bool>() && *value.as<bool>();
  if (name == "false") return value.as<bool>() && !*value.as<bool>();
  if (name == "integer") return value.as<int64_t>();
  if (name == "float") return value.as<double>();
  if (name == "number") return value.number(d);
  if (name == "string") return value.text();
  if (name == "mapping") return value.dict() && !value.dict()->is_namespace;
  if (name == "iterable")
    return value.text() || value.list() || (value.dict() && !value.dict()->is_namespace) || value.is_undefined();
  if (name == "sequence")
    return value.text() || value.list() || (value.dict() && !value.dict()->is_namespace) || value.is_undefined();
  if (name == "even" || name == "odd") {
    if (!value.integer(i)) meter.invalid(fmt::format("is {} of {}", name, value.kind()));
    return (i % 2 == 0) == (name == "even");
  }
  const Value* other = arguments.find(0, "other");
  constexpr std::pair<std::string_view, std::string_view> kCompare[] = {
      {"equalto", "=="}, {"eq", "=="}, {"ne", "!="}, {"lt", "<"}, {"le", "<="}, {"gt", ">"}, {"ge", ">="}, {"in", "in"}};
  for (const auto& [test, op] : kCompare) {
    if (test == name && other) return compare(op, value, *other, meter);
  }
  int64_t by = 0;
  if (name == "divisibleby" && other && value.integer(i) && other->integer(by) && by != 0) return by == -1 || i % by == 0;
  meter.unsupported(fmt::format("the test \"{}\"", printable(name, 40)));
}

bool is_function(std::string_view name) {
  return name == "range" || name == "raise_exception" || name == "strftime_now" || name == "namespace";
}

Value call_function(std::string_view name, const Arguments& arguments, Meter& meter) {
  if (name == "range") return range(arguments, meter);
  if (name == "strftime_now") return format_time(arguments, meter);
  const Value* message = arguments.find(0, "message");
  throw Error(ErrorKind::kInvalidArgument, "chat template, line {}: {}", meter.line,
              message ? printable(to_text(*message).bytes(), 300) : "refused");
}

bool is_method(const Value& self, std::string_view name) { return method(self, name) != nullptr; }

Value call_method(std::string_view name, const Value& self, const Arguments& arguments, Meter& meter) {
  meter.step(self.text() ? self.text()->size() : 0);
  return method(self, name)->function(self, arguments, meter);
}

}  // namespace microtome::jinja
