#include "microtome/text/jinja/parser.h"

#include <algorithm>

#include "microtome/text/jinja/token_cursor.h"

namespace microtome::jinja {
namespace {

constexpr int kMaxNesting = 40;

class Parser {
 public:
  explicit Parser(std::span<const Token> tokens) : in_(tokens) {}

  Template run() {
    Template out;
    out.body = body({});
    if (in_.peek().kind != TokenKind::kEnd) in_.unexpected("the end of the template");
    return out;
  }

 private:
  using Kind = Statement::Kind;
  using Words = std::initializer_list<std::string_view>;

  // Statements up to a block that starts with one of `ends` (left in place), or to the end if there is none.
  Body body(Words ends) {
    if (++nesting_ > kMaxNesting) in_.unsupported(fmt::format("nesting deeper than {}", kMaxNesting));
    Body out;
    while (true) {
      const Token& token = in_.peek();
      if (token.kind == TokenKind::kEnd) {
        if (ends.size() > 0) in_.unexpected(*ends.begin());
        break;
      }
      if (token.kind == TokenKind::kBlockBegin) {
        const std::string& word = in_.peek(1).text;
        if (std::find(ends.begin(), ends.end(), word) != ends.end()) break;
        in_.next();
        block(out);
        continue;
      }
      in_.next();
      auto statement = make(token.kind == TokenKind::kData ? Kind::kData : Kind::kPrint, token.line);
      if (token.kind == TokenKind::kData) {
        statement->data = token.text;
      } else {
        statement->expression = parse_expression(in_);
        in_.expect(TokenKind::kPrintEnd, "}}");
      }
      out.push_back(std::move(statement));
    }
    --nesting_;
    return out;
  }

  static std::unique_ptr<Statement> make(Kind kind, int line) {
    auto statement = std::make_unique<Statement>();
    statement->kind = kind;
    statement->line = line;
    return statement;
  }
  void end_block() { in_.expect(TokenKind::kBlockEnd, "%}"); }
  // "{% word %}", which must come now.
  void end(std::string_view word) {
    in_.expect(TokenKind::kBlockBegin, "{%");
    if (!in_.take_name(word)) in_.unexpected(word);
    end_block();
  }

  // After "{%".
  void block(Body& out) {
    const int line = in_.line();
    if (in_.take_name("if")) return out.push_back(if_block(line));
    if (in_.take_name("for")) return out.push_back(for_block(line));
    if (in_.take_name("set")) return out.push_back(set_block(line));
    if (in_.take_name("macro")) return out.push_back(macro_block(line));
    if (in_.is_name("break") || in_.is_name("continue")) {
      if (loops_ == 0) in_.unexpected("a loop around it");
      out.push_back(make(in_.next().text == "break" ? Kind::kBreak : Kind::kContinue, line));
      return end_block();
    }
    if (in_.take_name("generation")) {
      end_block();
      for (auto& statement : body({"endgeneration"})) out.push_back(std::move(statement));
      return end("endgeneration");
    }
    const std::string& word = in_.peek().text;
    if (word.starts_with("end") || word == "else" || word == "elif") in_.unexpected("a statement that begins");
    if (in_.peek().kind == TokenKind::kName) in_.unsupported(fmt::format("the statement \"{}\"", printable(in_.peek().text, 40)));
    in_.unexpected("a statement");
  }

  std::unique_ptr<Statement> if_block(int line) {
    auto statement = make(Kind::kIf, line);
    ExpressionPtr condition = parse_expression(in_);
    while (true) {
      end_block();
      const bool is_else = !condition;
      Body branch = is_else ? body({"endif"}) : body({"endif", "elif", "else"});
      statement->branches.emplace_back(std::move(condition), std::move(branch));
      in_.next();  // {%
      if (in_.take_name("endif")) break;
      condition = in_.next().text == "elif" ? parse_expression(in_) : nullptr;
    }
    end_block();
    return statement;
  }

  std::unique_ptr<Statement> for_block(int line) {
    auto statement = make(Kind::kFor, line);
    statement->targets = names();
    if (!in_.take_name("in")) in_.unexpected("in");
    statement->expression = parse_expression(in_, false);
    if (in_.take_name("if")) statement->condition = parse_expression(in_);
    if (in_.is_name("recursive")) in_.unsupported("a recursive loop");
    end_block();
    ++loops_;
    statement->body = body({"endfor", "else"});
    --loops_;
    in_.next();  // {%
    if (in_.take_name("else")) {
      end_block();
      statement->otherwise = body({"endfor"});
      in_.next();
    }
    in_.next();  // endfor
    end_block();
    return statement;
  }

  std::unique_ptr<Statement> set_block(int line) {
    auto statement = make(Kind::kSet, line);
    statement->targets = names();
    if (in_.take_operator(".")) {
      if (statement->targets.size() > 1) in_.unexpected("=");
      statement->attribute = in_.expect_name("a name after \".\"");
    }
    if (in_.take_operator("=")) {
      statement->expression = parse_expression(in_);
      if (in_.is_operator(",")) in_.unsupported("a tuple without parentheses");
      end_block();
      return statement;
    }
    if (in_.is_operator("|")) in_.unsupported("a filter on a set block");
    if (statement->targets.size() > 1) in_.unexpected("=");
    statement->kind = Kind::kSetBlock;
    end_block();
    statement->body = body({"endset"});
    end("endset");
    return statement;
  }

  std::unique_ptr<Statement> macro_block(int line) {
    if (nesting_ > 1) in_.unsupported("a macro inside of another block");
    auto statement = make(Kind::kMacro, line);
    MacroStatement& macro = statement->macro;
    macro.name = in_.expect_name("the macro's name");
    in_.expect_operator("(");
    while (!in_.take_operator(")")) {
      std::string name = in_.expect_name("a parameter");
      ExpressionPtr otherwise = in_.take_operator("=") ? parse_expression(in_) : nullptr;
      macro.parameters.emplace_back(std::move(name), std::move(otherwise));
      if (!in_.take_operator(",") && !in_.is_operator(")")) in_.unexpected(")");
    }
    end_block();
    const int loops = std::exchange(loops_, 0);
    macro.body = body({"endmacro"});
    loops_ = loops;
    in_.next();  // {%
    in_.next();  // endmacro
    if (in_.is_name(macro.name)) in_.next();
    end_block();
    return statement;
  }

  // "a", "a, b" or "(a, b)".
  std::vector<std::string> names() {
    std::vector<std::string> out;
    const bool bracket = in_.take_operator("(");
    do {
      out.push_back(in_.expect_name("a name"));
    } while (in_.take_operator(","));
    if (bracket) in_.expect_operator(")");
    return out;
  }

  TokenCursor in_;
  int nesting_ = 0, loops_ = 0;
};

}  // namespace

Template parse(std::string_view source) {
  const std::vector<Token> tokens = lex(source);
  return Parser(tokens).run();
}

}  // namespace microtome::jinja
