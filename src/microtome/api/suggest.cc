#include "microtome/api/suggest.h"

#include <algorithm>

#include "microtome/base/edit_distance.h"

namespace microtome::api {
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
