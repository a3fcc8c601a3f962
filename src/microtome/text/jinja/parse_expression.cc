#include <algorithm>
#include <charconv>

#include "microtome/text/jinja/token_cursor.h"

namespace microtome::jinja {
namespace {

constexpr int kMaxNesting = 40;  // brackets within brackets: recursion of this parser
constexpr int kMaxDepth = 160;   // of the tree, chains of operators included: recursion of the evaluator

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenCursor& in) : in_(in) {}

  ExpressionPtr conditional(bool ternary) {
    const Nesting guard(*this);
    ExpressionPtr value = disjunction();
    while (ternary && in_.is_name("if")) {
      const int line = in_.next().line;
      ExpressionPtr condition = disjunction();
      ExpressionPtr otherwise = in_.take_name("else") ? conditional(true) : nullptr;
      value = make(ExpressionKind::kTernary, line, "", {std::move(condition), std::move(value), std::move(otherwise)});
    }
    return value;
  }

 private:
  struct Nesting {
    explicit Nesting(ExpressionParser& parser) : parser(parser) {
      if (++parser.nesting_ > kMaxNesting) parser.in_.unsupported(fmt::format("nesting deeper than {}", kMaxNesting));
    }
    ~Nesting() { --parser.nesting_; }
    ExpressionParser& parser;
  };

  template <class... Children>
  static std::vector<ExpressionPtr> list(Children&&... children) {
    std::vector<ExpressionPtr> out;
    (out.push_back(std::forward<Children>(children)), ...);
    return out;
  }

  struct ChildList {
    std::vector<ExpressionPtr> items;
    ChildList() = default;
    ChildList(std::vector<ExpressionPtr> v) : items(std::move(v)) {}
    template <class... C>
    requires(std::is_same_v<std::decay_t<C>, ExpressionPtr>&&...) ChildList(C&&... children)
        : items(list(std::forward<C>(children)...)) {}
  };

  ExpressionPtr make(ExpressionKind kind, int line, std::string name, ChildList children = {},
                     std::vector<Argument> arguments = {}) {
    auto node = std::make_unique<Expression>();
    node->kind = kind;
    node->line = line;
    node->name = std::move(name);
    node->children = std::move(children.items);
    node->arguments = std::move(arguments);
    for (const auto& child : node->children) node->depth = std::max(node->depth, child ? child->depth + 1 : 1);
    for (const auto& argument : node->arguments) node->depth = std::max(node->depth, argument.value->depth + 1);
    if (node->depth > kMaxDepth) in_.unsupported(fmt::format("an expression deeper than {}", kMaxDepth));
    return node;
  }
  ExpressionPtr literal(int line, Value value) {
    ExpressionPtr node = make(ExpressionKind::kLiteral, line, "");
    node->literal = std::move(value);
    return node;
  }

  ExpressionPtr disjunction() {
    ExpressionPtr left = conjunction();
    while (in_.is_name("or")) {
      const int line = in_.next().line;
      left = make(ExpressionKind::kOr, line, "or", {std::move(left), conjunction()});
    }
    return left;
  }

  ExpressionPtr conjunction() {
    ExpressionPtr left = negation();
    while (in_.is_name("and")) {
      const int line = in_.next().line;
      left = make(ExpressionKind::kAnd, line, "and", {std::move(left), negation()});
    }
    return left;
  }

  ExpressionPtr negation() {
    if (!in_.is_name("not")) return comparison();
    const Nesting guard(*this);
    const int line = in_.next().line;
    return make(ExpressionKind::kUnary, line, "not", {negation()});
  }

  ExpressionPtr comparison() {
    ExpressionPtr left = sum();
    bool chained = false;
    while (true) {
      const int line = in_.line();
      std::string name;
      for (const char* op : {"==", "!=", "<", "<=", ">", ">="}) {
        if (in_.is_operator(op)) name = op;
      }
      if (in_.is_name("in")) name = "in";
      const bool not_in = in_.is_name("not") && in_.peek(1).kind == TokenKind::kName && in_.peek(1).text == "in";
      if (not_in) name = "not in";
      if (name.empty()) return left;
      if (chained) in_.unsupported("a chain of comparisons");
      chained = true;
      in_.next();
      if (not_in) in_.next();
      left = make(ExpressionKind::kCompare, line, name, {std::move(left), sum()});
    }
  }

  template <class Next>
  ExpressionPtr chain(std::initializer_list<const char*> operators, Next&& operand) {
    ExpressionPtr left = operand();
    while (true) {
      const auto found = std::find_if(operators.begin(), operators.end(), [&](const char* op) { return in_.is_operator(op); });
      if (found == operators.end()) return left;
      const int line = in_.next().line;
      left = make(ExpressionKind::kBinary, line, *found, {std::move(left), operand()});
    }
  }
  ExpressionPtr sum() {
    return chain({"+", "-"}, [&] { return concatenation(); });
  }
  ExpressionPtr concatenation() {
    return chain({"~"}, [&] { return product(); });
  }
  ExpressionPtr product() {
    return chain({"*", "/", "//", "%"}, [&] { return unary(true); });
  }

  ExpressionPtr unary(bool with_filters) {
    const int line = in_.line();
    ExpressionPtr node;
    if (in_.is_operator("-") || in_.is_operator("+")) {
      const Nesting guard(*this);
      const std::string sign = in_.next().text;
      node = make(ExpressionKind::kUnary, line, sign, {unary(false)});
    } else {
      node = postfix(primary());
    }
    if (in_.is_operator("**")) in_.unsupported("**");
    return with_filters ? filters(std::move(node)) : std::move(node);
  }

  ExpressionPtr primary() {
    const Token& token = in_.peek();
    switch (token.kind) {
      case TokenKind::kName: return name();
      case TokenKind::kInteger:
      case TokenKind::kFloat: return number();
      case TokenKind::kText: {
        std::string text;
        while (in_.peek().kind == TokenKind::kText) text += in_.next().text;
        return literal(token.line, make_text(text));
      }
      case TokenKind::kOperator: break;
      default: in_.unexpected("an expression");
    }
    if (in_.take_operator("(")) return parenthesis(token.line);
    if (in_.take_operator("[")) return make(ExpressionKind::kList, token.line, "", items("]"));
    if (in_.take_operator("{")) return dictionary(token.line);
    in_.unexpected("an expression");
  }

  ExpressionPtr name() {
    const Token& token = in_.next();
    const std::string& text = token.text;
    if (text == "true" || text == "True") return literal(token.line, true);
    if (text == "false" || text == "False") return literal(token.line, false);
    if (text == "none" || text == "None") return literal(token.line, None{});
    return make(ExpressionKind::kName, token.line, text);
  }

  ExpressionPtr number() {
    const Token& token = in_.next();
    const char *begin = token.text.data(), *end = begin + token.text.size();
    int64_t integer = 0;
    double real = 0;
    const bool is_float = token.kind == TokenKind::kFloat;
    const std::from_chars_result read = is_float ? std::from_chars(begin, end, real) : std::from_chars(begin, end, integer);
    if (read.ec != std::errc() || read.ptr != end)
      throw Error(ErrorKind::kUnsupported, "chat template, line {}: number {} is out of range", token.line, token.text);
    return is_float ? literal(token.line, real) : literal(token.line, integer);
  }

  // Expressions separated by commas up to `close`, which is taken.
  std::vector<ExpressionPtr> items(std::string_view close) {
    std::vector<ExpressionPtr> out;
    while (!in_.take_operator(close)) {
      out.push_back(conditional(true));
      if (!in_.take_operator(",") && !in_.is_operator(close)) in_.unexpected(close);
    }
    return out;
  }

  // A value in parentheses, or a tuple, which is a list here.
  ExpressionPtr parenthesis(int line) {
    if (in_.take_operator(")")) return make(ExpressionKind::kList, line, "");
    ExpressionPtr first = conditional(true);
    if (in_.take_operator(")")) return first;
    in_.expect_operator(",");
    std::vector<ExpressionPtr> all = items(")");
    all.insert(all.begin(), std::move(first));
    return make(ExpressionKind::kList, line, "", std::move(all));
  }

  ExpressionPtr dictionary(int line) {
    std::vector<ExpressionPtr> out;
    while (!in_.take_operator("}")) {
      out.push_back(conditional(true));
      in_.expect_operator(":");
      out.push_back(conditional(true));
      if (!in_.take_operator(",") && !in_.is_operator("}")) in_.unexpected("}");
    }
    return make(ExpressionKind::kDict, line, "", std::move(out));
  }

  ExpressionPtr postfix(ExpressionPtr node) {
    while (true) {
      const int line = in_.line();
      if (in_.take_operator(".")) {
        if (in_.peek().kind == TokenKind::kInteger) in_.unsupported("a number after \".\"");
        node = make(ExpressionKind::kAttribute, line, in_.expect_name("a name after \".\""), {std::move(node)});
      } else if (in_.take_operator("[")) {
        node = subscript(std::move(node), line);
      } else if (in_.is_operator("(")) {
        node = make(ExpressionKind::kCall, line, "", {std::move(node)}, arguments());
      } else {
        return node;
      }
    }
  }

  ExpressionPtr subscript(ExpressionPtr object, int line) {
    ExpressionPtr part[3];
    int n = 0;
    bool slice = false;
    while (!in_.is_operator("]")) {
      if (in_.take_operator(":")) {
        slice = true;
        if (++n > 2) in_.unexpected("]");
      } else {
        if (part[n]) in_.unexpected("]");
        part[n] = conditional(true);
      }
    }
    in_.next();
    if (slice)
      return make(ExpressionKind::kSlice, line, "",
                  {std::move(object), std::move(part[0]), std::move(part[1]), std::move(part[2])});
    if (!part[0]) in_.unexpected("an index");
    return make(ExpressionKind::kIndex, line, "", {std::move(object), std::move(part[0])});
  }

  std::vector<Argument> arguments() {
    in_.expect_operator("(");
    std::vector<Argument> out;
    while (!in_.take_operator(")")) {
      if (in_.is_operator("*") || in_.is_operator("**")) in_.unsupported("* and ** in a call");
      Argument argument;
      if (in_.peek().kind == TokenKind::kName && in_.peek(1).kind == TokenKind::kOperator && in_.peek(1).text == "=") {
        argument.name = in_.next().text;
        in_.next();
      } else if (!out.empty() && !out.back().name.empty()) {
        in_.unexpected("a named argument");
      }
      argument.value = conditional(true);
      out.push_back(std::move(argument));
      if (!in_.take_operator(",") && !in_.is_operator(")")) in_.unexpected(")");
    }
    return out;
  }

  ExpressionPtr filters(ExpressionPtr node) {
    while (true) {
      const int line = in_.line();
      if (in_.take_operator("|")) {
        std::string filter = in_.expect_name("a filter");
        node = make(ExpressionKind::kFilter, line, std::move(filter), {std::move(node)},
                    in_.is_operator("(") ? arguments() : std::vector<Argument>());
      } else if (in_.take_name("is")) {
        node = test(std::move(node), line);
      } else if (in_.is_operator("(")) {
        node = make(ExpressionKind::kCall, line, "", {std::move(node)}, arguments());
      } else {
        return node;
      }
    }
  }

  ExpressionPtr test(ExpressionPtr value, int line) {
    const bool negated = in_.take_name("not");
    std::string name = in_.expect_name("a test");
    std::vector<Argument> with;
    const TokenKind next = in_.peek().kind;
    const bool operand = next == TokenKind::kText || next == TokenKind::kInteger || next == TokenKind::kFloat ||
                         in_.is_operator("[") || in_.is_operator("{");
    const bool word = next == TokenKind::kName && !in_.is_name("else") && !in_.is_name("or") && !in_.is_name("and") &&
                      !in_.is_name("if") && !in_.is_name("is") && !in_.is_name("in") && !in_.is_name("not");
    if (in_.is_operator("(")) with = arguments();
    else if (operand || word) with.push_back({"", postfix(primary())});
    ExpressionPtr node = make(ExpressionKind::kTest, line, std::move(name), {std::move(value)}, std::move(with));
    node->negated = negated;
    return node;
  }

  TokenCursor& in_;
  int nesting_ = 0;
};

}  // namespace

ExpressionPtr parse_expression(TokenCursor& in, bool ternary) { return ExpressionParser(in).conditional(ternary); }

}  // namespace microtome::jinja
