#include "microtome/base/utf8.h"

#include <fmt/format.h>

namespace microtome {
namespace {

// The range that the second byte must lie in (Unicode 15, table 3-7); later bytes are 80..BF.
struct Lead {
  int length;
  uint8_t low, high;
};

Lead lead_of(uint8_t c) {
  if (c < 0x80) return {1, 0, 0};
  if (c >= 0xC2 && c <= 0xDF) return {2, 0x80, 0xBF};
  if (c == 0xE0) return {3, 0xA0, 0xBF};
  if (c == 0xED) return {3, 0x80, 0x9F};
  if (c >= 0xE1 && c <= 0xEF) return {3, 0x80, 0xBF};
  if (c == 0xF0) return {4, 0x90, 0xBF};
  if (c >= 0xF1 && c <= 0xF3) return {4, 0x80, 0xBF};
  if (c == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Good bytes at the start of `text`, at most the length its first byte promises.
size_t good_prefix(std::string_view text, int& wanted) {
  wanted = 0;
  if (text.empty()) return 0;
  const Lead lead = lead_of(static_cast<uint8_t>(text[0]));
  wanted = lead.length;
  if (lead.length <= 1) return lead.length;
  size_t i = 1;
  for (; i < static_cast<size_t>(lead.length) && i < text.size(); ++i) {
    const uint8_t c = static_cast<uint8_t>(text[i]);
    const uint8_t low = i == 1 ? lead.low : 0x80, high = i == 1 ? lead.high : 0xBF;
    if (c < low || c > high) break;
  }
  return i;
}

}  // namespace

size_t utf8_length(std::string_view text) {
  int wanted;
  const size_t good = good_prefix(text, wanted);
  return wanted > 0 && good == static_cast<size_t>(wanted) ? good : 0;
}

uint32_t utf8_decode(std::string_view text, size_t length) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[i])); };
  switch (length) {
    case 1: return byte(0);
    case 2: return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3: return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default: return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
  }
}

void utf8_append(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

bool utf8_is_incomplete(std::string_view tail) {
  int wanted;
  const size_t good = good_prefix(tail, wanted);
  return wanted > 1 && good == tail.size() && good < static_cast<size_t>(wanted);
}

bool utf8_valid(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_length(text.substr(i));
    if (n == 0) return false;
    i += n;
  }
  return true;
}

std::string utf8_lossy(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    int wanted;
    const size_t good = good_prefix(bytes.substr(i), wanted);
    if (wanted > 0 && good == static_cast<size_t>(wanted)) {
      out += bytes.substr(i, good);
      i += good;
    } else {
      utf8_append(out, 0xFFFD);
      i += good > 0 ? good : 1;
    }
  }
  return out;
}

std::string utf8_or_hex(std::string_view bytes) {
  std::string out;
  for (size_t i = 0; i < bytes.size();) {
    const size_t n = utf8_length(bytes.substr(i));
    if (n > 0) {
      out += bytes.substr(i, n);
      i += n;
    } else {
      out += fmt::format("<0x{:02X}>", static_cast<uint8_t>(bytes[i++]));
    }
  }
  return out;
}

}  // namespace microtome
