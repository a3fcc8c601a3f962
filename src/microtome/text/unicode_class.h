// What the pre-tokenizers' patterns ask of a character: \p{L}, \p{N}, \s (Unicode White_Space) or none of these.
// Unicode 16, as the reference's regular expressions have it. Thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

namespace microtome {

enum class CharClass : uint8_t { kOther, kLetter, kNumber, kSpace };

struct CharAt {
  uint32_t code = 0;    // the byte itself where the text is not UTF-8
  uint32_t length = 0;  // bytes; 0 at the end of the text
  CharClass kind = CharClass::kOther;
};

CharClass char_class(uint32_t code_point);

// The character at byte `pos`. A byte that is not part of well-formed UTF-8 is one character of class kOther.
CharAt char_at(std::string_view text, size_t pos);

}  // namespace microtome
