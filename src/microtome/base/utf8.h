// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace microtome {

// Bytes of the well-formed character that starts `text` (1 to 4), or 0 if there is none.
size_t utf8_length(std::string_view text);

// Code point of the character that starts `text`; text must begin with `length = utf8_length(text) > 0` good bytes.
uint32_t utf8_decode(std::string_view text, size_t length);

void utf8_append(std::string& out, uint32_t code_point);

// True if `tail` could become a character with more bytes (a proper prefix of one).
bool utf8_is_incomplete(std::string_view tail);

bool utf8_valid(std::string_view text);

// Every maximal run of bad bytes replaced by U+FFFD, as browsers do.
std::string utf8_lossy(std::string_view bytes);

// Good characters kept; each other byte written as <0xE2>.
std::string utf8_or_hex(std::string_view bytes);

}  // namespace microtome
