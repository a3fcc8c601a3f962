// Cuts a template into text and the tokens between {{ }} and {% %}, as Jinja with trim_blocks and lstrip_blocks does: the
// newline after a block tag is dropped, and so is the white space from the start of the line to a block tag; "-" in a tag
// drops all white space on its side, "+" keeps it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace microtome::jinja {

enum class TokenKind {
  kData,        // text outside tags
  kPrintBegin,  // {{
  kPrintEnd,    // }}
  kBlockBegin,  // {%
  kBlockEnd,    // %}
  kName,
  kText,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind;
  std::string text;  // a text literal without quotes, its escapes resolved
  int line;
};

// Throws kInvalidArgument with the line for an unclosed tag, text or comment, and kUnsupported for unknown characters.
std::vector<Token> lex(std::string_view source);

}  // namespace microtome::jinja
