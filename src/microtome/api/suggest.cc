#include "microtome/api/suggest.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace microtome::api {
namespace {

// Levenshtein's distance, row by row.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t changed = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> candidates) {
  name = name.substr(0, 256);
  const auto letters = static_cast<size_t>(std::count_if(name.begin(), name.end(), [](char c) { return c != '-'; }));
  std::string best;
  size_t best_distance = std::max(letters / 3, size_t{letters < 4 ? 1u : 2u}) + 1;  // further off is not near
  for (const std::string& c : candidates) {
    const bool begins = name.size() >= 3 && c.starts_with(name);
    const size_t distance = begins ? 1 : edit_distance(name, c);
    if (distance < best_distance && distance < c.size()) {
      best = c;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace microtome::api
