// The terminal: its width, whether to use colour, and how wide text is on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace microtome::cli {

// $COLUMNS, else what the terminal says, else 100; at least 20, at most 1000.
int terminal_columns();

// Standard output is a terminal, and NO_COLOR is not set.
bool colour_wanted();

// Columns that `text` takes; bad UTF-8 counts one column a byte.
int display_width(std::string_view text);

// `text` cut to `columns`, with … where something was cut.
std::string fit(std::string_view text, int columns);

// `text` with spaces after it (before it if `right`), to `columns`.
std::string pad(std::string_view text, int columns, bool right = false);

// What a terminal shows as text and nothing else: control characters, but newline and tab, and bad bytes replaced by U+FFFD.
std::string inert(std::string_view text);

// Wrapped in colour: `background` and `foreground` in xterm's palette of 256; -1: none.
std::string coloured(std::string_view text, int foreground, int background);
std::string dimmed(std::string_view text);
std::string bold(std::string_view text);

}  // namespace microtome::cli
