// The alphabet that GPT-2 writes bytes in: each of the 256 bytes is one printable character, its own where it has one in
// Latin-1 ("!" to "~", "¡" to "¬", "®" to "ÿ"), and the next from U+0100 on otherwise (space is "Ġ", newline "Ċ").
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace microtome {

// "Ġthe" -> " the". Nothing if a character is not of the alphabet. Thread-safe.
std::optional<std::string> bytes_from_alphabet(std::string_view written);

// The same, appended to `out`; on false `out` is as it was.
bool append_from_alphabet(std::string_view written, std::string& out);

std::string alphabet_from_bytes(std::string_view bytes);

}  // namespace microtome
