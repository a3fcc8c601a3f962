// How far apart two names are, for "did you mean".
#pragma once

#include <cstddef>
#include <string_view>

namespace microtome {

// Levenshtein's distance in bytes; time |a| |b|: callers bound what they pass.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace microtome
