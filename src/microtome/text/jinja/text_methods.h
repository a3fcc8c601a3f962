// What templates do to texts; every byte of a result keeps the mark it came with.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "microtome/text/jinja/marked_text.h"

namespace microtome::jinja {

// kTitle is Python's str.title: a word begins after anything but a letter. kWords is Jinja's filter title: after white space
// or one of -({[<
enum class Case { kUpper, kLower, kTitle, kWords, kCapitalize };
// By code point (a character that becomes two, as ß does, is left alone).
MarkedText change_case(const MarkedText& text, Case to);

// Python's strip: `characters` or, without them, white space.
MarkedText strip(const MarkedText& text, bool left, bool right, const std::optional<std::string_view>& characters);

// Python's split: at white space without a separator; at most `limit` cuts if it is not negative. `separator` not empty.
std::vector<MarkedText> split(const MarkedText& text, const std::optional<std::string_view>& separator, int64_t limit,
                              bool from_right);

// At most `limit` times if it is not negative. `from` not empty.
MarkedText replace(const MarkedText& text, std::string_view from, const MarkedText& to, int64_t limit);

}  // namespace microtome::jinja
