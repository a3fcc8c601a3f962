// The tree of a parsed template. Depth is bounded by the parser, so that walking and freeing it may recurse.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "microtome/text/jinja/value.h"

namespace microtome::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct Argument {
  std::string name;  // empty: positional
  ExpressionPtr value;
};

enum class ExpressionKind {
  kLiteral,  // literal
  kName,     // name
  kList,     // children
  kDict,     // children: key, value, key, value, ...
  kUnary,    // name: "not", "-", "+"; children: operand
  kBinary,   // name: operator; children: left, right
  kCompare,  // name: operator, "in", "not in"; children: left, right
  kAnd,
  kOr,         // children: left, right
  kTernary,    // children: condition, then, else (may be null)
  kAttribute,  // children: object; name
  kIndex,      // children: object, key
  kSlice,      // children: object, start, stop, step (each of the three may be null)
  kCall,       // children: callee; arguments
  kFilter,     // children: value; name; arguments
  kTest,       // children: value; name; arguments; negated
};

struct Expression {
  ExpressionKind kind;
  int line = 0;
  int depth = 1;
  std::string name;
  Value literal;
  std::vector<ExpressionPtr> children;
  std::vector<Argument> arguments;
  bool negated = false;
};

struct Statement;
using Body = std::vector<std::unique_ptr<Statement>>;

struct MacroStatement {
  std::string name;
  std::vector<std::pair<std::string, ExpressionPtr>> parameters;  // with default, which may be null
  Body body;
};

struct Statement {
  enum class Kind { kData, kPrint, kIf, kFor, kSet, kSetBlock, kMacro, kBreak, kContinue } kind;
  int line = 0;
  std::string data;                                      // kData
  ExpressionPtr expression;                              // kPrint, kSet: value; kFor: what is walked
  std::vector<std::pair<ExpressionPtr, Body>> branches;  // kIf: condition (null: else) and body
  std::vector<std::string> targets;                      // kFor, kSet, kSetBlock: names
  std::string attribute;                                 // kSet: `ns.attribute`, where targets[0] is ns
  ExpressionPtr condition;                               // kFor: `if` at the end of the line, or null
  Body body, otherwise;                                  // kFor, kSetBlock
  MacroStatement macro;                                  // kMacro
};

struct Template {
  Body body;
};

}  // namespace microtome::jinja
