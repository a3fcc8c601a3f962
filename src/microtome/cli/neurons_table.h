// The tables that `neurons` prints.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::cli {

// Of api::neurons's result, as wide as the terminal.
std::string neurons_table(const Json& result, int columns);

}  // namespace microtome::cli
