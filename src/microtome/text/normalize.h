// Unicode normalisation form C of text that may hold bytes that are not UTF-8. Thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "microtome/text/added_tokens.h"

namespace microtome {

// True if `nfc` would certainly change nothing; cheap.
bool is_surely_nfc(std::string_view text);

// Bytes that are not UTF-8 are kept as they are.
std::string nfc(std::string_view text);

// Ranges of input and the text between them normalised each by itself, so that typed text cannot alter the rest; the
// ranges follow. Throws kIo if memory runs out.
std::string nfc(std::string_view text, std::vector<InputRange>& input);

}  // namespace microtome
