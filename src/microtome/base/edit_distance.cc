#include "microtome/base/edit_distance.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace microtome {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), row(b.size() + 1), next(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    next[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      next[j] = std::min({row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) next[j] = std::min(next[j], before[j - 2] + 1);
    }
    std::swap(before, row);
    std::swap(row, next);
  }
  return row.back();
}

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

std::string did_you_mean(std::string_view name, std::span<const std::string> candidates) {
  const std::string near = nearest_name(name, candidates);
  return near.empty() ? "" : ", did you mean \"" + near + "\"?";
}

}  // namespace microtome
