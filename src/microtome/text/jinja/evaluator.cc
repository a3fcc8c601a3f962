#include "microtome/text/jinja/evaluator.h"

#include <fmt/format.h>

#include <algorithm>

#include "microtome/text/jinja/builtins.h"
#include "microtome/text/jinja/meter.h"
#include "microtome/text/jinja/operators.h"

namespace microtome::jinja {
namespace {

class Evaluator {
 public:
  explicit Evaluator(Environment environment)
      : meter_{environment.limits.steps, environment.limits.bytes, 0, environment.now}, max_depth_(environment.limits.depth) {
    scopes_.push_back({std::move(environment.variables)});
  }
  // Namespaces may hold each other; emptied, they let go.
  ~Evaluator() {
    for (const DictPtr& ns : namespaces_) ns->items.clear();
  }

  MarkedText run(const Template& parsed) {
    run_body(parsed.body);
    return std::move(output_);
  }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  struct Scope {
    std::vector<std::pair<std::string, Value>> variables;
    void set(const std::string& name, Value value) {
      for (auto& [known, old] : variables) {
        if (known == name) return void(old = std::move(value));
      }
      variables.emplace_back(name, std::move(value));
    }
  };
  // Depth of evaluation, and the line for messages.
  struct At {
    At(Evaluator& e, int line) : evaluator(e), line(e.meter_.line) {
      e.meter_.line = line;
      e.meter_.step();
      if (++e.depth_ > e.max_depth_) e.meter_.unsupported(fmt::format("evaluation deeper than {}", e.max_depth_));
    }
    ~At() {
      --evaluator.depth_;
      evaluator.meter_.line = line;
    }
    Evaluator& evaluator;
    int line;
  };

  // ---- names ----

  // Innermost first, down to the running macro's own; then the globals.
  const Value* lookup(std::string_view name) const {
    const auto in = [&](const Scope& scope) -> const Value* {
      for (const auto& [known, value] : scope.variables) {
        if (known == name) return &value;
      }
      return nullptr;
    };
    for (size_t i = scopes_.size(); i-- > std::max<size_t>(base_, 1);) {
      if (const Value* found = in(scopes_[i])) return found;
    }
    return in(scopes_[0]);
  }

  void assign(const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) return scopes_.back().set(targets[0], value);
    const std::vector<Value> parts = walk(value, meter_);
    if (parts.size() != targets.size()) meter_.invalid(fmt::format("{} names for {} values", targets.size(), parts.size()));
    for (size_t i = 0; i < parts.size(); ++i) scopes_.back().set(targets[i], parts[i]);
  }

  // ---- statements ----

  Flow run_body(const Body& body) {
    for (const auto& statement : body) {
      if (const Flow flow = run_statement(*statement); flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow run_statement(const Statement& s) {
    using Kind = Statement::Kind;
    const At at(*this, s.line);
    switch (s.kind) {
      case Kind::kData:
        meter_.charge(s.data.size());
        output_.append(s.data, false);
        return Flow::kNext;
      case Kind::kPrint: {
        const MarkedText text = to_text(evaluate(*s.expression));
        meter_.charge(text.size());
        output_.append(text);
        return Flow::kNext;
      }
      case Kind::kIf:
        for (const auto& [condition, body] : s.branches) {
          if (!condition || evaluate(*condition).truth()) return run_body(body);
        }
        return Flow::kNext;
      case Kind::kFor: return run_for(s);
      case Kind::kSet: run_set(s); return Flow::kNext;
      case Kind::kSetBlock: {
        Value value = captured(s.body);
        if (s.attribute.empty()) assign(s.targets, value);
        else set_attribute(s, std::move(value));
        return Flow::kNext;
      }
      case Kind::kMacro:
        scopes_.back().set(s.macro.name,
                           CallablePtr(std::make_shared<const Callable>(Callable{&s.macro, s.macro.name, nullptr})));
        return Flow::kNext;
      case Kind::kBreak: return Flow::kBreak;
      case Kind::kContinue: return Flow::kContinue;
    }
    return Flow::kNext;
  }

  Flow run_for(const Statement& s) {
    std::vector<Value> items = walk(evaluate(*s.expression), meter_);
    if (s.condition) {
      std::vector<Value> kept;
      for (Value& each : items) {
        meter_.step();
        scopes_.emplace_back();
        assign(s.targets, each);
        const bool keep = evaluate(*s.condition).truth();
        scopes_.pop_back();
        if (keep) kept.push_back(std::move(each));
      }
      items = std::move(kept);
    }
    if (items.empty()) return run_body(s.otherwise);
    for (size_t i = 0; i < items.size(); ++i) {
      meter_.step();
      scopes_.emplace_back();
      scopes_.back().set("loop", loop_value(items, i));
      assign(s.targets, items[i]);
      const Flow flow = run_body(s.body);
      scopes_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    return Flow::kNext;
  }

  static Value loop_value(const std::vector<Value>& items, size_t i) {
    const auto n = static_cast<int64_t>(items.size()), at = static_cast<int64_t>(i);
    std::vector<std::pair<MarkedText, Value>> loop;
    const auto add = [&](const char* name, Value value) { loop.emplace_back(MarkedText(name, false), std::move(value)); };
    add("index", at + 1);
    add("index0", at);
    add("first", i == 0);
    add("last", at + 1 == n);
    add("length", n);
    add("revindex", n - at);
    add("revindex0", n - at - 1);
    if (i > 0) add("previtem", items[i - 1]);
    if (i + 1 < items.size()) add("nextitem", items[i + 1]);
    return make_dict(std::move(loop));
  }

  void run_set(const Statement& s) {
    Value value = evaluate(*s.expression);
    if (s.attribute.empty()) assign(s.targets, value);
    else set_attribute(s, std::move(value));
  }

  void set_attribute(const Statement& s, Value value) {
    const Value* found = lookup(s.targets[0]);
    const DictPtr* dict = found ? found->as<DictPtr>() : nullptr;
    if (!dict || !(*dict)->is_namespace)
      meter_.invalid(fmt::format("set {0}.{1}: {0} is no namespace", s.targets[0], s.attribute));
    put(**dict, MarkedText(s.attribute, false), std::move(value));
  }

  void put(Dict& dict, MarkedText key, Value value) {
    for (auto& [known, old] : dict.items) {
      if (known.bytes() == key.bytes()) return void(old = std::move(value));
    }
    meter_.charge(sizeof(Value) + key.size());
    dict.items.emplace_back(std::move(key), std::move(value));
  }

  Value captured(const Body& body) {
    MarkedText outer = std::exchange(output_, {});
    scopes_.emplace_back();
    run_body(body);
    scopes_.pop_back();
    return make_text(std::exchange(output_, std::move(outer)));
  }

  // ---- expressions ----

  Value evaluate(const Expression& e) {
    using Kind = ExpressionKind;
    const At at(*this, e.line);
    const auto child = [&](size_t i) { return e.children[i] ? evaluate(*e.children[i]) : Value(None{}); };
    switch (e.kind) {
      case Kind::kLiteral: return e.literal;
      case Kind::kName: return name_value(e.name);
      case Kind::kList: return make_list(evaluate_all(e));
      case Kind::kDict: return dictionary(e);
      case Kind::kUnary: return unary(e.name, child(0), meter_);
      case Kind::kBinary: {
        const Value left = child(0);
        return binary(e.name, left, child(1), meter_);
      }
      case Kind::kCompare: {
        const Value left = child(0);
        return compare(e.name, left, child(1), meter_);
      }
      case Kind::kAnd: {
        Value left = child(0);
        return left.truth() ? child(1) : left;
      }
      case Kind::kOr: {
        Value left = child(0);
        return left.truth() ? left : child(1);
      }
      case Kind::kTernary:
        if (child(0).truth()) return child(1);
        return e.children[2] ? child(2) : Value(Undefined{});
      case Kind::kAttribute: return attribute(child(0), e.name);
      case Kind::kIndex: {
        const Value object = child(0);
        return item(object, child(1), meter_);
      }
      case Kind::kSlice: {
        const Value object = child(0), start = child(1), stop = child(2), step = child(3);
        return slice(object, start, stop, step, meter_);
      }
      case Kind::kCall: {
        const Value callee = child(0);
        return call(callee, arguments(e));
      }
      case Kind::kFilter: {
        const Value value = child(0);
        return apply_filter(e.name, value, arguments(e), meter_);
      }
      case Kind::kTest: {
        const Value value = child(0);
        return apply_test(e.name, value, arguments(e), meter_) != e.negated;
      }
    }
    return {};
  }

  Value name_value(const std::string& name) const {
    if (const Value* found = lookup(name)) return *found;
    if (is_function(name)) return CallablePtr(std::make_shared<const Callable>(Callable{nullptr, name, nullptr}));
    return Undefined{name};
  }

  std::vector<Value> evaluate_all(const Expression& e) {
    std::vector<Value> out;
    meter_.charge(sizeof(Value) * e.children.size());
    for (const auto& each : e.children) out.push_back(evaluate(*each));
    return out;
  }

  Value dictionary(const Expression& e) {
    Dict dict;
    for (size_t i = 0; i < e.children.size(); i += 2) {
      const Value key = evaluate(*e.children[i]);
      if (!key.text()) meter_.unsupported(fmt::format("{} as the key of a mapping", key.kind()));
      put(dict, *key.text(), evaluate(*e.children[i + 1]));
    }
    return make_dict(std::move(dict.items));
  }

  Value attribute(const Value& object, const std::string& name) {
    if (is_method(object, name))
      return CallablePtr(std::make_shared<const Callable>(Callable{nullptr, name, std::make_shared<const Value>(object)}));
    return item(object, make_text(name), meter_);
  }

  Arguments arguments(const Expression& e) {
    Arguments out;
    for (const Argument& argument : e.arguments) {
      Value value = evaluate(*argument.value);
      if (argument.name.empty()) out.positional.push_back(std::move(value));
      else out.named.emplace_back(argument.name, std::move(value));
    }
    return out;
  }

  Value call(const Value& callee, const Arguments& with) {
    if (const Undefined* u = callee.as<Undefined>())
      meter_.unsupported(fmt::format("the function \"{}\"", printable(u->name(), 40)));
    const CallablePtr* callable = callee.as<CallablePtr>();
    if (!callable) meter_.invalid(fmt::format("{} cannot be called", callee.kind()));
    const Callable& c = **callable;
    if (c.macro) return call_macro(*c.macro, with);
    if (c.self) return call_method(c.name, *c.self, with, meter_);
    return c.name == "namespace" ? make_namespace(with) : call_function(c.name, with, meter_);
  }

  Value make_namespace(const Arguments& with) {
    if (!with.positional.empty()) meter_.unsupported("namespace of a value");
    auto ns = std::make_shared<Dict>();
    ns->is_namespace = true;
    for (const auto& [name, value] : with.named) put(*ns, MarkedText(name, false), value);
    meter_.charge(sizeof(Dict));
    namespaces_.push_back(ns);
    return ns;
  }

  Value call_macro(const MacroStatement& macro, const Arguments& with) {
    if (with.positional.size() > macro.parameters.size())
      meter_.invalid(fmt::format("{} takes {} arguments, {} given", macro.name, macro.parameters.size(), with.positional.size()));
    for (const auto& argument : with.named) {
      const auto is_it = [&](const auto& parameter) { return parameter.first == argument.first; };
      if (std::none_of(macro.parameters.begin(), macro.parameters.end(), is_it))
        meter_.invalid(fmt::format("{} has no parameter \"{}\"", macro.name, printable(argument.first, 40)));
    }
    const size_t base = std::exchange(base_, scopes_.size());
    scopes_.emplace_back();
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const auto& [name, otherwise] = macro.parameters[i];
      const Value* given = with.find(i, name);
      Value value = given ? *given : otherwise ? evaluate(*otherwise) : Value(Undefined{name});
      scopes_.back().set(name, std::move(value));
    }
    Value out = captured(macro.body);
    scopes_.pop_back();
    base_ = base;
    return out;
  }

  Meter meter_;
  int depth_ = 0, max_depth_;
  std::vector<Scope> scopes_;  // the first holds the globals
  size_t base_ = 0;            // of the running macro; 0 outside of one
  MarkedText output_;
  std::vector<DictPtr> namespaces_;
};

}  // namespace

MarkedText evaluate(const Template& parsed, Environment environment) { return Evaluator(std::move(environment)).run(parsed); }

}  // namespace microtome::jinja
