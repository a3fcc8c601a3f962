// Values of the template language, with Python's meaning of truth, equality, order and printing.
//
// Values are immutable and shared, but namespaces, which `{% set ns.x = ... %}` changes; the evaluator owns those.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "microtome/base/json.h"
#include "microtome/text/jinja/marked_text.h"

namespace microtome::jinja {

struct Value;
struct MacroStatement;

// What an unknown name or key gives: empty when printed, an error when looked into.
struct Undefined {
  Undefined() = default;
  explicit Undefined(std::string name) : name_(std::make_shared<const std::string>(std::move(name))) {}
  std::string name() const { return name_ ? *name_ : std::string(); }

 private:
  std::shared_ptr<const std::string> name_;
};
struct None {};

struct List {
  std::vector<Value> items;
  int depth = 1;  // of nesting, itself included
};
struct Dict {
  std::vector<std::pair<MarkedText, Value>> items;  // in order of insertion
  int depth = 1;
  bool is_namespace = false;

  const Value* find(std::string_view key) const;
};
// Something to call: a macro, a global function, or a method of `self`.
struct Callable {
  const MacroStatement* macro = nullptr;
  std::string name;
  std::shared_ptr<const Value> self;
};

using TextPtr = std::shared_ptr<const MarkedText>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<Dict>;
using CallablePtr = std::shared_ptr<const Callable>;

struct Value {
  std::variant<Undefined, None, bool, int64_t, double, TextPtr, ListPtr, DictPtr, CallablePtr> is;

  Value() = default;
  template <class T>
  requires std::is_constructible_v<decltype(is), T> &&(!std::is_same_v<std::decay_t<T>, Value>)Value(T&& value)
      : is(std::forward<T>(value)) {}

  template <class T>
  const T* as() const {
    return std::get_if<T>(&is);
  }
  const MarkedText* text() const { return as<TextPtr>() ? as<TextPtr>()->get() : nullptr; }
  const List* list() const { return as<ListPtr>() ? as<ListPtr>()->get() : nullptr; }
  const Dict* dict() const { return as<DictPtr>() ? as<DictPtr>()->get() : nullptr; }
  bool is_undefined() const { return as<Undefined>(); }
  bool is_none() const { return as<None>(); }
  // Integers and, as in Python, booleans.
  bool integer(int64_t& out) const;
  // Any number.
  bool number(double& out) const;

  const char* kind() const;  // "text", "list", ... for messages
  bool truth() const;
};

Value make_text(MarkedText text);
Value make_text(std::string_view written_by_the_template);
// Throws kUnsupported if values nest deeper than 64.
Value make_list(std::vector<Value> items);
Value make_dict(std::vector<std::pair<MarkedText, Value>> items);
// Texts and keys are marked as input.
Value from_json(const Json& json, bool is_input);

bool equal(const Value& a, const Value& b);
// Python's str() and repr().
MarkedText to_text(const Value& value);
MarkedText to_repr(const Value& value);
// json.dumps(value, ensure_ascii=False, indent=indent); on one line if indent < 0. False for what JSON has no form for.
bool to_json(const Value& value, int indent, MarkedText& out);

}  // namespace microtome::jinja
