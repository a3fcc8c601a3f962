#include "microtome/api/visible_text.h"

#include <fmt/format.h>

#include <cstdint>

#include "microtome/base/utf8.h"

namespace microtome::api {
namespace {

// Controls, spaces of other widths, format characters (Unicode's Cf), separators of lines, variation selectors, noncharacters.
bool has_no_shape(uint32_t c) {
  const auto in = [c](uint32_t low, uint32_t high) { return c >= low && c <= high; };
  return c < 0x20 || in(0x7F, 0x9F) || c == 0xA0 || c == 0xAD || c == 0x61C || c == 0x180E || in(0x2000, 0x200F) ||
         in(0x2028, 0x202F) || in(0x205F, 0x206F) || c == 0x3000 || in(0xFE00, 0xFE0F) || c == 0xFEFF || in(0xFFF0, 0xFFFB) ||
         in(0xE0000, 0xE0FFF) || in(0xFDD0, 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

}  // namespace

std::string visible_text(std::string_view text, bool keep_spaces) {
  std::string out;
  while (!text.empty()) {
    const size_t n = utf8_length(text);
    if (n == 0) {
      out += fmt::format("<0x{:02X}>", static_cast<uint8_t>(text[0]));
      text.remove_prefix(1);
      continue;
    }
    const uint32_t c = utf8_decode(text, n);
    if (c == ' ' && !keep_spaces) out += "·";
    else if (c == '\n') out += "↵";
    else if (c == '\t') out += "→";
    else if (has_no_shape(c)) out += fmt::format("<U+{:04X}>", c);
    else out += text.substr(0, n);
    text.remove_prefix(n);
  }
  return out;
}

}  // namespace microtome::api
