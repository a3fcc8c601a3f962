// The logit lens on a terminal.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::cli {

// One object of the lens command as text, at most `columns` wide: layers down, positions across (in several blocks where they do
// not fit), in each cell the most probable token and its probability in percent, with `colour` also as its background. For one
// position: a table of the most probable tokens, entropy, KL and target at each layer.
std::string lens_table(const Json& lens, int columns, bool colour);

}  // namespace microtome::cli
