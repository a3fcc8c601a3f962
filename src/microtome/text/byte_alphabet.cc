#include "microtome/text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "microtome/base/utf8.h"

namespace microtome {
namespace {

constexpr uint32_t kFirstBorrowed = 0x100;
constexpr size_t kCharacters = 0x144;  // one past the last character, U+0143

struct Alphabet {
  std::array<uint16_t, 256> character{};
  std::array<int16_t, kCharacters> byte{};
};

constexpr Alphabet kAlphabet = [] {
  Alphabet a;
  for (auto& b : a.byte) b = -1;
  uint32_t next = kFirstBorrowed;
  for (uint32_t b = 0; b < 256; ++b) {
    const bool own = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
    const uint32_t c = own ? b : next++;
    a.character[b] = static_cast<uint16_t>(c);
    a.byte[c] = static_cast<int16_t>(b);
  }
  return a;
}();

}  // namespace

bool append_from_alphabet(std::string_view written, std::string& out) {
  const size_t before = out.size();
  for (size_t i = 0; i < written.size();) {
    const auto first = static_cast<uint8_t>(written[i]);
    // Every character of the alphabet has one or two bytes.
    uint32_t code = first;
    size_t length = 1;
    if (first >= 0x80) {
      length = utf8_length(written.substr(i, 2));
      code = length == 2 ? utf8_decode(written.substr(i, 2), 2) : kCharacters;
    }
    if (code >= kCharacters || kAlphabet.byte[code] < 0) {
      out.resize(before);
      return false;
    }
    out += static_cast<char>(kAlphabet.byte[code]);
    i += length;
  }
  return true;
}

std::optional<std::string> bytes_from_alphabet(std::string_view written) {
  std::string out;
  if (!append_from_alphabet(written, out)) return std::nullopt;
  return out;
}

std::string alphabet_from_bytes(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) utf8_append(out, kAlphabet.character[static_cast<uint8_t>(b)]);
  return out;
}

}  // namespace microtome
