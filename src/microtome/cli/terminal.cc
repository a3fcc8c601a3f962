#include "microtome/cli/terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>

#include "microtome/base/utf8.h"

namespace microtome::cli {
namespace {

// Length and width of the character that starts `text`.
struct Glyph {
  size_t bytes;
  int columns;
};

Glyph first_glyph(std::string_view text) {
  const size_t n = utf8_length(text);
  if (n == 0) return {1, 1};
  return {n, std::max(0, utf8proc_charwidth(static_cast<utf8proc_int32_t>(utf8_decode(text, n))))};
}

}  // namespace

int terminal_columns() {
  int columns = 0;
  if (const char* text = std::getenv("COLUMNS")) columns = std::atoi(text);
  winsize size{};
  if (columns <= 0 && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0) columns = size.ws_col;
  if (columns <= 0 && ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0) columns = size.ws_col;
  if (columns <= 0) columns = 100;
  return std::clamp(columns, 20, 1000);
}

bool colour_wanted() {
  const char* no_color = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

int display_width(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const Glyph g = first_glyph(text);
    columns += g.columns;
    text.remove_prefix(g.bytes);
  }
  return columns;
}

std::string fit(std::string_view text, int columns) {
  if (display_width(text) <= columns) return std::string(text);
  if (columns <= 0) return "";
  std::string out;
  int used = 0;
  while (!text.empty()) {
    const Glyph g = first_glyph(text);
    if (used + g.columns > columns - 1) break;
    out += text.substr(0, g.bytes);
    used += g.columns;
    text.remove_prefix(g.bytes);
  }
  return out + "…";
}

std::string pad(std::string_view text, int columns, bool right) {
  const std::string spaces(static_cast<size_t>(std::max(0, columns - display_width(text))), ' ');
  return right ? spaces + std::string(text) : std::string(text) + spaces;
}

std::string inert(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t n = utf8_length(text);
    const uint32_t c = n == 0 ? 0 : utf8_decode(text, n);
    const bool control = n == 0 || c < 0x20 || (c >= 0x7F && c < 0xA0);
    if (control && c != '\n' && c != '\t') out += "\uFFFD";
    else out += text.substr(0, n);
    text.remove_prefix(std::max<size_t>(n, 1));
  }
  return out;
}

std::string coloured(std::string_view text, int foreground, int background) {
  if (foreground < 0 && background < 0) return std::string(text);
  std::string out;
  if (foreground >= 0) out += fmt::format("\x1b[38;5;{}m", foreground);
  if (background >= 0) out += fmt::format("\x1b[48;5;{}m", background);
  return out + std::string(text) + "\x1b[0m";
}

std::string dimmed(std::string_view text) { return "\x1b[2m" + std::string(text) + "\x1b[0m"; }
std::string bold(std::string_view text) { return "\x1b[1m" + std::string(text) + "\x1b[0m"; }

}  // namespace microtome::cli
