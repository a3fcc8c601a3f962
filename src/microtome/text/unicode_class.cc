#include "microtome/text/unicode_class.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>

#include "microtome/base/utf8.h"

namespace microtome {
namespace {

struct CodeRange {
  uint32_t first, last;
};

// Letters and numbers that Unicode 15.1 and 16 added: Debian 12's utf8proc knows Unicode 15.
constexpr CodeRange kNewLetters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3}, {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85},
    {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA}, {0x16100, 0x1611D}, {0x16D40, 0x16D6C},
    {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};
constexpr CodeRange kNewNumbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};

template <size_t N>
bool contains(const CodeRange (&ranges)[N], uint32_t code) {
  const CodeRange* after =
      std::upper_bound(std::begin(ranges), std::end(ranges), code, [](uint32_t c, const CodeRange& r) { return c < r.first; });
  return after != std::begin(ranges) && code <= after[-1].last;
}

bool is_white_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
         c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

constexpr std::array<CharClass, 128> kAscii = [] {
  std::array<CharClass, 128> table{};
  for (int c = 0; c < 128; ++c) {
    const int lower = c | 0x20;
    if (lower >= 'a' && lower <= 'z') table[c] = CharClass::kLetter;
    else if (c >= '0' && c <= '9') table[c] = CharClass::kNumber;
    else if ((c >= 0x09 && c <= 0x0D) || c == ' ') table[c] = CharClass::kSpace;
  }
  return table;
}();

}  // namespace

CharClass char_class(uint32_t code) {
  if (code < 128) return kAscii[code];
  if (is_white_space(code)) return CharClass::kSpace;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return CharClass::kNumber;
    case UTF8PROC_CATEGORY_CN:
      if (contains(kNewLetters, code)) return CharClass::kLetter;
      if (contains(kNewNumbers, code)) return CharClass::kNumber;
      return CharClass::kOther;
    default: return CharClass::kOther;
  }
}

CharAt char_at(std::string_view text, size_t pos) {
  if (pos >= text.size()) return {};
  const auto byte = static_cast<uint8_t>(text[pos]);
  if (byte < 128) return {byte, 1, kAscii[byte]};
  const std::string_view rest = text.substr(pos, 4);
  const size_t length = utf8_length(rest);
  if (length == 0) return {byte, 1, CharClass::kOther};
  const uint32_t code = utf8_decode(rest, length);
  return {code, static_cast<uint32_t>(length), char_class(code)};
}

}  // namespace microtome
