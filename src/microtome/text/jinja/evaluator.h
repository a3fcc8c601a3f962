// Runs a parsed template.
//
//   MarkedText text = evaluate(parsed, {{"messages", ...}, {"add_generation_prompt", true}}, limits);
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "microtome/text/jinja/ast.h"
#include "microtome/text/jinja/marked_text.h"

namespace microtome::jinja {

struct Limits {
  int64_t steps = 1'000'000;         // expressions, statements, rounds of loops
  int64_t bytes = int64_t{1} << 28;  // of all texts and lists made on the way
  int depth = 300;                   // of expressions, statements and macros within each other
};

struct Environment {
  std::vector<std::pair<std::string, Value>> variables;
  int64_t now = 0;  // for strftime_now: seconds since 1970; 0: the clock
  Limits limits;
};

// Throws kInvalidArgument for what Jinja refuses too (and for raise_exception, with its message), kUnsupported for what this
// subset lacks or a limit that is passed; with the line.
MarkedText evaluate(const Template& parsed, Environment environment);

}  // namespace microtome::jinja
