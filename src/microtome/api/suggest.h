// "Did you mean": the name closest to one that does not exist.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace microtome::api {

// The candidate with the fewest letters to change (or that begins with `name`); empty if none is near.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

}  // namespace microtome::api
