#include "microtome/text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"

namespace microtome::jinja {
namespace {

constexpr int kMaxDepth = 64;

int depth_of(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  return 0;
}

int checked_depth(int deepest_child) {
  if (deepest_child >= kMaxDepth)
    throw Error(ErrorKind::kUnsupported, "chat template: lists and mappings nest deeper than {}", kMaxDepth);
  return deepest_child + 1;
}

std::string number_text(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", x);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

void append_quoted(const MarkedText& text, char quote, bool json, MarkedText& out) {
  const std::string_view bytes = text.bytes();
  for (size_t i = 0; i < bytes.size(); ++i) {
    const char c = bytes[i];
    const bool is_input = text.is_input_at(i);
    const auto code = static_cast<uint8_t>(c);
    if (c == quote || c == '\\') out.append(std::string{'\\', c}, is_input);
    else if (c == '\n') out.append("\\n", is_input);
    else if (c == '\r') out.append("\\r", is_input);
    else if (c == '\t') out.append("\\t", is_input);
    else if (json && c == '\b') out.append("\\b", is_input);
    else if (json && c == '\f') out.append("\\f", is_input);
    else if (code < 0x20) out.append(json ? fmt::format("\\u{:04x}", code) : fmt::format("\\x{:02x}", code), is_input);
    else out.append({&c, 1}, is_input);
  }
}

void append_repr(const Value& value, MarkedText& out) {
  if (const MarkedText* text = value.text()) {
    const bool single = text->bytes().find('\'') == std::string::npos || text->bytes().find('"') != std::string::npos;
    const char quote = single ? '\'' : '"';
    out.append({&quote, 1}, false);
    append_quoted(*text, quote, false, out);
    out.append({&quote, 1}, false);
  } else if (const List* list = value.list()) {
    out.append("[", false);
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (i > 0) out.append(", ", false);
      append_repr(list->items[i], out);
    }
    out.append("]", false);
  } else if (const Dict* dict = value.dict(); dict && !dict->is_namespace) {
    out.append("{", false);
    for (size_t i = 0; i < dict->items.size(); ++i) {
      if (i > 0) out.append(", ", false);
      append_repr(make_text(dict->items[i].first), out);
      out.append(": ", false);
      append_repr(dict->items[i].second, out);
    }
    out.append("}", false);
  } else {
    out.append(to_text(value));
  }
}

void append_break(int indent, int level, MarkedText& out) {
  if (indent < 0) return;
  out.append("\n" + std::string(static_cast<size_t>(indent) * static_cast<size_t>(level), ' '), false);
}

bool append_json(const Value& value, int indent, int level, MarkedText& out) {
  const char* comma = indent < 0 ? ", " : ",";
  if (const MarkedText* text = value.text()) {
    out.append("\"", false);
    append_quoted(*text, '"', true, out);
    out.append("\"", false);
  } else if (const List* list = value.list()) {
    out.append("[", false);
    for (size_t i = 0; i < list->items.size(); ++i) {
      if (i > 0) out.append(comma, false);
      append_break(indent, level + 1, out);
      if (!append_json(list->items[i], indent, level + 1, out)) return false;
    }
    if (!list->items.empty()) append_break(indent, level, out);
    out.append("]", false);
  } else if (const Dict* dict = value.dict(); dict && !dict->is_namespace) {
    out.append("{", false);
    for (size_t i = 0; i < dict->items.size(); ++i) {
      if (i > 0) out.append(comma, false);
      append_break(indent, level + 1, out);
      append_json(make_text(dict->items[i].first), indent, level + 1, out);
      out.append(": ", false);
      if (!append_json(dict->items[i].second, indent, level + 1, out)) return false;
    }
    if (!dict->items.empty()) append_break(indent, level, out);
    out.append("}", false);
  } else if (value.is_none()) {
    out.append("null", false);
  } else if (const bool* b = value.as<bool>()) {
    out.append(*b ? "true" : "false", false);
  } else if (value.as<int64_t>() || value.as<double>()) {
    out.append(to_text(value));
  } else {
    return false;
  }
  return true;
}

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (const auto& [k, value] : items) {
    if (k.bytes() == key) return &value;
  }
  return nullptr;
}

bool Value::integer(int64_t& out) const {
  if (const bool* b = as<bool>()) out = *b;
  else if (const int64_t* i = as<int64_t>()) out = *i;
  else return false;
  return true;
}

bool Value::number(double& out) const {
  int64_t i;
  if (integer(i)) out = static_cast<double>(i);
  else if (const double* d = as<double>()) out = *d;
  else return false;
  return true;
}

const char* Value::kind() const {
  constexpr const char* kKinds[] = {"undefined", "none", "boolean", "integer", "number", "text", "list", "mapping", "function"};
  return kKinds[is.index()];
}

bool Value::truth() const {
  if (double x; number(x)) return x != 0;
  if (const MarkedText* t = text()) return t->size() > 0;
  if (const List* l = list()) return !l->items.empty();
  if (const Dict* d = dict()) return d->is_namespace || !d->items.empty();
  return as<CallablePtr>() != nullptr;
}

Value make_text(MarkedText text) { return TextPtr(std::make_shared<const MarkedText>(std::move(text))); }
Value make_text(std::string_view written) { return make_text(MarkedText(written, false)); }

Value make_list(std::vector<Value> items) {
  int depth = 0;
  for (const Value& item : items) depth = std::max(depth, depth_of(item));
  auto list = std::make_shared<List>();
  list->depth = checked_depth(depth);
  list->items = std::move(items);
  return ListPtr(std::move(list));
}

Value make_dict(std::vector<std::pair<MarkedText, Value>> items) {
  int depth = 0;
  for (const auto& item : items) depth = std::max(depth, depth_of(item.second));
  auto dict = std::make_shared<Dict>();
  dict->depth = checked_depth(depth);
  dict->items = std::move(items);
  return DictPtr(std::move(dict));
}

Value from_json(const Json& json, bool is_input) {
  switch (json.type()) {
    case Json::value_t::null: return None{};
    case Json::value_t::boolean: return json.get<bool>();
    case Json::value_t::number_integer: return json.get<int64_t>();
    case Json::value_t::number_unsigned:
      if (json.get<uint64_t>() <= INT64_MAX) return json.get<int64_t>();
      return json.get<double>();
    case Json::value_t::number_float: return json.get<double>();
    case Json::value_t::string: return make_text(MarkedText(json.get_ref<const std::string&>(), is_input));
    case Json::value_t::array: {
      std::vector<Value> items;
      for (const Json& item : json) items.push_back(from_json(item, is_input));
      return make_list(std::move(items));
    }
    case Json::value_t::object: {
      std::vector<std::pair<MarkedText, Value>> items;
      for (const auto& [key, item] : json.items()) items.emplace_back(MarkedText(key, is_input), from_json(item, is_input));
      return make_dict(std::move(items));
    }
    default: return Undefined{};
  }
}

bool equal(const Value& a, const Value& b) {
  double x, y;
  if (a.number(x) && b.number(y)) {
    int64_t i, j;
    return a.integer(i) && b.integer(j) ? i == j : x == y;
  }
  if (a.is.index() != b.is.index()) return false;
  if (a.text()) return a.text()->bytes() == b.text()->bytes();
  if (a.list())
    return std::equal(a.list()->items.begin(), a.list()->items.end(), b.list()->items.begin(), b.list()->items.end(), equal);
  if (a.dict()) {
    if (a.dict() == b.dict()) return true;
    if (a.dict()->is_namespace || b.dict()->is_namespace || a.dict()->items.size() != b.dict()->items.size()) return false;
    return std::all_of(a.dict()->items.begin(), a.dict()->items.end(), [&](const auto& item) {
      const Value* other = b.dict()->find(item.first.bytes());
      return other && equal(item.second, *other);
    });
  }
  if (a.as<CallablePtr>()) return *a.as<CallablePtr>() == *b.as<CallablePtr>();
  return true;  // both undefined, or both none
}

MarkedText to_text(const Value& value) {
  if (const MarkedText* text = value.text()) return *text;
  if (value.is_none()) return MarkedText("None", false);
  if (const bool* b = value.as<bool>()) return MarkedText(*b ? "True" : "False", false);
  if (const int64_t* i = value.as<int64_t>()) return MarkedText(fmt::format("{}", *i), false);
  if (const double* d = value.as<double>()) return MarkedText(number_text(*d), false);
  if (const Dict* dict = value.dict(); dict && dict->is_namespace) return MarkedText("<Namespace>", false);
  if (value.as<CallablePtr>()) return MarkedText("<function>", false);
  return value.is_undefined() ? MarkedText() : to_repr(value);
}

MarkedText to_repr(const Value& value) {
  MarkedText out;
  append_repr(value, out);
  return out;
}

bool to_json(const Value& value, int indent, MarkedText& out) { return append_json(value, indent, 0, out); }

}  // namespace microtome::jinja
