// A place in a list of tokens, for the parser's two halves.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/base/error.h"
#include "microtome/text/jinja/ast.h"
#include "microtome/text/jinja/lexer.h"

namespace microtome::jinja {

class TokenCursor {
 public:
  explicit TokenCursor(std::span<const Token> tokens) : tokens_(tokens) {}

  // The last token is kEnd, which `next` never passes.
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  int line() const { return peek().line; }

  bool is(TokenKind kind, std::string_view text) const { return peek().kind == kind && peek().text == text; }
  bool is_operator(std::string_view text) const { return is(TokenKind::kOperator, text); }
  bool is_name(std::string_view text) const { return is(TokenKind::kName, text); }
  bool take_operator(std::string_view text) { return is_operator(text) && (next(), true); }
  bool take_name(std::string_view text) { return is_name(text) && (next(), true); }

  void expect_operator(std::string_view text) {
    if (!take_operator(text)) unexpected(text);
  }
  void expect(TokenKind kind, std::string_view what) {
    if (peek().kind != kind) unexpected(what);
    next();
  }
  std::string expect_name(std::string_view what) {
    if (peek().kind != TokenKind::kName) unexpected(what);
    return next().text;
  }

  [[noreturn]] void unexpected(std::string_view wanted) const {
    throw Error(ErrorKind::kInvalidArgument, "chat template, line {}: found {}, expected {}", line(), describe(peek()), wanted);
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    throw Error(ErrorKind::kUnsupported, "chat template, line {}: {} is not supported", line(), what);
  }

 private:
  static std::string describe(const Token& token) {
    switch (token.kind) {
      case TokenKind::kEnd: return "the end of the template";
      case TokenKind::kPrintEnd: return "}}";
      case TokenKind::kBlockEnd: return "%}";
      case TokenKind::kPrintBegin: return "{{";
      case TokenKind::kBlockBegin: return "{%";
      default: return fmt::format("\"{}\"", printable(token.text, 40));
    }
  }

  std::span<const Token> tokens_;
  size_t at_ = 0;
};

// An expression from the cursor on. With `ternary` false it ends before `if` (the filter of a for).
ExpressionPtr parse_expression(TokenCursor& in, bool ternary = true);

}  // namespace microtome::jinja
