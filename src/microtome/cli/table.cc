#include "microtome/cli/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

std::string scaled(double x, const char* unit) {
  const char* prefixes[] = {"", "k", "M", "G", "T"};
  int i = 0;
  while (x >= 999.5 && i < 4) {
    x /= 1000;
    ++i;
  }
  if (i == 0) return *unit ? fmt::format("{:.0f} {}", x, unit) : fmt::format("{:.0f}", x);
  return fmt::format("{:.1f} {}{}", x, prefixes[i], unit);
}

}  // namespace

void Table::row(std::vector<std::string> cells) {
  MT_CHECK_EQ(cells.size(), columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text(int columns) const {
  const size_t n = columns_.size();
  std::vector<int> widths(n);
  for (size_t c = 0; c < n; ++c) {
    widths[c] = display_width(columns_[c].name);
    for (const auto& row : rows_) widths[c] = std::max(widths[c], display_width(row[c]));
  }
  int total = 2 * (static_cast<int>(n) - 1);
  for (const int w : widths) total += w;
  size_t widest = n;
  for (size_t c = 0; c < n; ++c)
    if (columns_[c].align == Align::kLeft && (widest == n || widths[c] > widths[widest])) widest = c;
  if (total > columns && widest < n) widths[widest] = std::max(8, widths[widest] - (total - columns));

  std::string out;
  const auto line = [&](auto cell) {
    std::string text;
    for (size_t c = 0; c < n; ++c)
      text += (c ? "  " : "") + pad(fit(cell(c), widths[c]), widths[c], columns_[c].align == Align::kRight);
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  line([&](size_t c) { return columns_[c].name; });
  for (const auto& row : rows_) line([&](size_t c) { return row[c]; });
  return out;
}

std::string bytes_text(double bytes) { return scaled(bytes, "B"); }
std::string count_text(double count) { return scaled(count, ""); }

}  // namespace microtome::cli
