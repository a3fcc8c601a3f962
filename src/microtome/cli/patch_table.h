// A patching map on a terminal.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::cli {

// The result of the patch command as text, at most `columns` wide: each panel of api/patch_picture.h as a grid of numbers (in
// several blocks where it does not fit), with `colour` also as their background, then the strongest places with their intervals.
std::string patch_table(const Json& map, int columns, bool colour);

}  // namespace microtome::cli
