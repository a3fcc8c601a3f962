// Tokens as people see them, exactly: a space as ·, a newline as ↵, a tab as →; what has no shape by itself or would change the
// text around it (control characters, other spaces, bidirectional marks, zero-width characters) by its code, <U+202E>; bad bytes
// as <0xE2>.
//
//   visible_text(" Lisbon")      // "·Lisbon"
//
// Any text becomes inert: fit for a terminal, and (once escaped) for XML and HTML. Free functions without state.
#pragma once

#include <string>
#include <string_view>

namespace microtome::api {

// `keep_spaces`: spaces stay spaces, for running text.
std::string visible_text(std::string_view text, bool keep_spaces = false);

}  // namespace microtome::api
