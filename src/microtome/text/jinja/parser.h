// Parses the subset of Jinja that chat templates use.
//
//   statements   for (with if, else, loop.*), break, continue, if/elif/else, set (names, ns.x, blocks), macro at the top level,
//                generation (ignored)
//   expressions  literals, lists, mappings, names, . [] slices, calls, filters, tests, ternary, or and not, comparisons, in,
//                + - * / // % ~
//   filters      capitalize count d default first float indent int items join last length list lower map reject rejectattr
//                replace reverse safe select selectattr string title tojson trim unique upper
//   tests        boolean defined divisibleby eq equalto even false float in integer iterable lt gt le ge mapping ne none number
//                odd sequence string true undefined
//   functions    namespace raise_exception range strftime_now; loop.index index0 first last length revindex revindex0
//                previtem nextitem
//   methods      of texts: capitalize endswith lower lstrip replace rstrip split startswith strip title upper; of mappings: get
//                items keys values
//
// Anything else is kUnsupported, named, with its line; what is malformed is kInvalidArgument.
#pragma once

#include <string_view>

#include "microtome/text/jinja/ast.h"

namespace microtome::jinja {

Template parse(std::string_view source);

}  // namespace microtome::jinja
