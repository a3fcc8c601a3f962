#include "microtome/text/jinja/lexer.h"

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/base/utf8.h"

namespace microtome::jinja {
namespace {

constexpr std::string_view kSpace = " \t\n\r\v\f";
constexpr std::string_view kOperators[] = {"**", "//", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "<",
                                           ">",  "=",  ".",  ":",  "|",  ",",  "(", ")", "[", "]", "{", "}"};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

// One line break style, and no newline at the very end.
std::string normalize_newlines(std::string_view source) {
  std::string out;
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      out += '\n';
    } else {
      out += source[i];
    }
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalize_newlines(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) data();
    push(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  std::string_view rest() const { return std::string_view(source_).substr(pos_); }
  bool at(std::string_view text) const { return rest().substr(0, text.size()) == text; }
  void push(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(size_t n) {
    line_ += static_cast<int>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(pos_), source_.begin() + static_cast<ptrdiff_t>(pos_ + n), '\n'));
    pos_ += n;
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kInvalidArgument, "chat template, line {}: {}", line_, what);
  }

  // Text up to the next tag, then the tag.
  void data() {
    size_t end = pos_;
    while (true) {
      end = source_.find('{', end);
      if (end == std::string::npos || end + 1 >= source_.size()) {
        push(TokenKind::kData, std::string(rest()));
        advance(rest().size());
        return;
      }
      if (std::string_view("{%#").find(source_[end + 1]) != std::string_view::npos) break;
      ++end;
    }
    std::string text(source_, pos_, end - pos_);
    const char type = source_[end + 1];
    const char sign = end + 2 < source_.size() ? source_[end + 2] : ' ';
    if (sign == '-') text.erase(text.find_last_not_of(kSpace) + 1);
    else if (type != '{' && sign != '+') strip_line_start(text);
    if (!text.empty()) push(TokenKind::kData, std::move(text));
    advance(end - pos_);
    advance(sign == '-' || sign == '+' ? 3 : 2);
    if (type == '#') comment();
    else tag(type == '{');
  }

  void strip_line_start(std::string& text) const {
    const size_t newline = text.rfind('\n');
    if (newline == std::string::npos && !line_starting_) return;
    const size_t start = newline == std::string::npos ? 0 : newline + 1;
    if (text.find_first_not_of(kSpace, start) == std::string::npos) text.erase(start);
  }

  // The rest of a tag's end, after "%}", "}}" or "#}".
  void after_tag(bool strip_all, bool trim_newline) {
    line_starting_ = false;
    if (strip_all) {
      const size_t n = std::min(rest().find_first_not_of(kSpace), rest().size());
      line_starting_ = n > 0 && rest()[n - 1] == '\n';
      advance(n);
    } else if (trim_newline && at("\n")) {
      line_starting_ = true;
      advance(1);
    }
  }

  void comment() {
    const size_t end = rest().find("#}");
    if (end == std::string_view::npos) fail("comment {# without #}");
    const char sign = end > 0 ? rest()[end - 1] : ' ';
    advance(end + 2);
    after_tag(sign == '-', sign != '+');
  }

  void tag(bool print) {
    const std::string_view close = print ? "}}" : "%}";
    push(print ? TokenKind::kPrintBegin : TokenKind::kBlockBegin, "");
    int open = 0;  // brackets, within which "}}" closes mappings
    while (true) {
      advance(std::min(rest().find_first_not_of(kSpace), rest().size()));
      if (pos_ >= source_.size()) fail(print ? "{{ without }}" : "{% without %}");
      const char sign = rest()[0];
      const bool with_sign = (sign == '-' || (sign == '+' && !print)) && rest().substr(1, 2) == close;
      if (open == 0 && (with_sign || at(close))) {
        push(print ? TokenKind::kPrintEnd : TokenKind::kBlockEnd, "");
        advance(with_sign ? 3 : 2);
        after_tag(with_sign && sign == '-', !print && !(with_sign && sign == '+'));
        return;
      }
      token(open);
    }
  }

  void token(int& open) {
    const char c = rest()[0];
    if (c == '"' || c == '\'') return literal(c);
    if (is_name_start(c)) {
      size_t n = 1;
      while (n < rest().size() && (is_name_start(rest()[n]) || is_digit(rest()[n]))) ++n;
      push(TokenKind::kName, std::string(rest().substr(0, n)));
      return advance(n);
    }
    if (is_digit(c)) return number();
    for (const std::string_view op : kOperators) {
      if (!at(op)) continue;
      if (op == "(" || op == "[" || op == "{") ++open;
      if (op == ")" || op == "]" || op == "}") open = std::max(0, open - 1);
      push(TokenKind::kOperator, std::string(op));
      return advance(op.size());
    }
    throw Error(ErrorKind::kUnsupported, "chat template, line {}: unexpected character \"{}\"", line_,
                printable(rest().substr(0, 1)));
  }

  void number() {
    size_t n = 0;
    bool is_float = false;
    const auto digits = [&] {
      while (n < rest().size() && (is_digit(rest()[n]) || rest()[n] == '_')) ++n;
    };
    digits();
    if (n + 1 < rest().size() && rest()[n] == '.' && is_digit(rest()[n + 1])) {
      is_float = true;
      ++n;
      digits();
    }
    if (n < rest().size() && (rest()[n] | 0x20) == 'e') {
      const size_t sign = n + 1 < rest().size() && (rest()[n + 1] == '-' || rest()[n + 1] == '+') ? 1 : 0;
      if (n + 1 + sign < rest().size() && is_digit(rest()[n + 1 + sign])) {
        is_float = true;
        n += 1 + sign;
        digits();
      }
    }
    std::string text(rest().substr(0, n));
    std::erase(text, '_');
    push(is_float ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    advance(n);
  }

  void literal(char quote) {
    std::string text;
    size_t i = 1;
    while (true) {
      if (i >= rest().size()) fail("text without closing quote");
      if (rest()[i] == quote) break;
      if (rest()[i] == '\\' && i + 1 < rest().size()) i += escape(rest().substr(i), text);
      else text += rest()[i++];
    }
    push(TokenKind::kText, std::move(text));
    advance(i + 1);
  }

  // Appends what the escape at the start of `in` (a backslash and at least one more byte) means; returns its length.
  static size_t escape(std::string_view in, std::string& out) {
    constexpr std::string_view kFrom = "ntrbfva0\\'\"", kTo("\n\t\r\b\f\v\a\0\\'\"", 11);
    const char c = in[1];
    if (const size_t i = kFrom.find(c); i != std::string_view::npos) {
      out += kTo[i];
      return 2;
    }
    if (c == '\n') return 2;
    const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t code = 0;
    bool good = digits > 0 && in.size() >= 2 + digits;
    for (size_t i = 0; good && i < digits; ++i) {
      const size_t digit =
          std::string_view("0123456789abcdef").find(static_cast<char>(in[2 + i] | (is_digit(in[2 + i]) ? 0 : 0x20)));
      good = digit != std::string_view::npos;
      code = code << 4 | static_cast<uint32_t>(digit & 15);
    }
    if (!good || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      out += '\\';  // kept as it is
      return 1;
    }
    utf8_append(out, code);
    return 2 + digits;
  }

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // nothing but the text that follows stands on the current line
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view source) { return Lexer(source).run(); }

}  // namespace microtome::jinja
