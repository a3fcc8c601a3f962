// How far apart two names are, and the text "did you mean".
//
//   throw Error(kind, "there is no task \"{}\"{}; the tasks are ...", name, did_you_mean(name, names));
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace microtome {

// Bytes to insert, delete, replace or swap with their neighbour (optimal string alignment); time |a| |b|: callers bound what they
// pass.
size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the fewest letters to change (or that begins with `name`); empty if none is near.
std::string nearest_name(std::string_view name, std::span<const std::string> candidates);

// `, did you mean "X"?` with the nearest candidate, or nothing.
std::string did_you_mean(std::string_view name, std::span<const std::string> candidates);

}  // namespace microtome
