#include "microtome/text/jinja/text_methods.h"

#include <utf8proc.h>

#include <algorithm>

#include "microtome/base/utf8.h"
#include "microtome/text/unicode_class.h"

namespace microtome::jinja {
namespace {

// Python's str.isspace: White_Space and the four separators of ASCII.
bool is_space(const CharAt& c) { return c.kind == CharClass::kSpace || (c.length == 1 && c.code >= 0x1C && c.code <= 0x1F); }

size_t last_character(std::string_view text, size_t begin, size_t end) {
  for (size_t n = 1; n <= 4 && n <= end - begin; ++n) {
    if (utf8_length(text.substr(end - n, n)) == n) return end - n;
  }
  return end - 1;
}

std::vector<MarkedText> split_at_space(const MarkedText& text, int64_t limit) {
  std::vector<MarkedText> out;
  const std::string_view bytes = text.bytes();
  size_t at = 0;
  const auto skip = [&](bool space) {
    while (at < bytes.size() && is_space(char_at(bytes, at)) == space) at += char_at(bytes, at).length;
  };
  for (skip(true); at < bytes.size(); skip(true)) {
    const size_t begin = at;
    if (limit >= 0 && static_cast<int64_t>(out.size()) == limit) {
      out.push_back(strip(text.slice(begin, bytes.size()), false, true, std::nullopt));
      break;
    }
    skip(false);
    out.push_back(text.slice(begin, at));
  }
  return out;
}

}  // namespace

MarkedText change_case(const MarkedText& text, Case to) {
  MarkedText out;
  const std::string_view bytes = text.bytes();
  bool first = true;  // of the text, or of a word
  for (size_t at = 0; at < bytes.size();) {
    const CharAt c = char_at(bytes, at);
    const bool valid = utf8_length(bytes.substr(at, 4)) > 0;
    const bool up = to == Case::kUpper || (to != Case::kLower && first);
    std::string changed;
    if (valid) {
      const auto code = static_cast<utf8proc_int32_t>(c.code);
      utf8_append(changed, static_cast<uint32_t>(up ? utf8proc_toupper(code) : utf8proc_tolower(code)));
    } else {
      changed = bytes.substr(at, 1);
    }
    out.append(changed, text.is_input_at(at));
    const bool opens = is_space(c) || (c.length == 1 && std::string_view("-({[<").find(bytes[at]) != std::string_view::npos);
    first = (to == Case::kTitle && c.kind != CharClass::kLetter) || (to == Case::kWords && opens);
    at += c.length;
  }
  return out;
}

MarkedText strip(const MarkedText& text, bool left, bool right, const std::optional<std::string_view>& characters) {
  const std::string_view bytes = text.bytes();
  const auto drop = [&](const CharAt& c, size_t at) {
    return characters ? characters->find(bytes.substr(at, c.length)) != std::string_view::npos : is_space(c);
  };
  size_t begin = 0, end = bytes.size();
  while (left && begin < end && drop(char_at(bytes, begin), begin)) begin += char_at(bytes, begin).length;
  while (right && begin < end) {
    const size_t last = last_character(bytes, begin, end);
    if (!drop(char_at(bytes, last), last)) break;
    end = last;
  }
  return text.slice(begin, end);
}

std::vector<MarkedText> split(const MarkedText& text, const std::optional<std::string_view>& separator, int64_t limit,
                              bool from_right) {
  if (!separator) return split_at_space(text, limit);
  std::vector<MarkedText> out;
  const std::string& bytes = text.bytes();
  size_t begin = 0, end = bytes.size();
  while (limit < 0 || static_cast<int64_t>(out.size()) < limit) {
    const size_t found = from_right ? std::string_view(bytes).substr(0, end).rfind(*separator) : bytes.find(*separator, begin);
    if (found == std::string::npos) break;
    if (from_right) {
      out.push_back(text.slice(found + separator->size(), end));
      end = found;
    } else {
      out.push_back(text.slice(begin, found));
      begin = found + separator->size();
    }
  }
  out.push_back(text.slice(begin, end));
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

MarkedText replace(const MarkedText& text, std::string_view from, const MarkedText& to, int64_t limit) {
  MarkedText out;
  size_t at = 0;
  for (; limit != 0; --limit) {
    const size_t found = text.bytes().find(from, at);
    if (found == std::string::npos) break;
    out.append(text.slice(at, found));
    out.append(to);
    at = found + from.size();
  }
  out.append(text.slice(at, text.size()));
  return out;
}

}  // namespace microtome::jinja
