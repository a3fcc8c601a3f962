// Results of `weights` as a person reads them: a table of the first rows, and for spectra a picture in characters.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::cli {

// `columns`: the terminal's width. At most 30 rows are shown; a line says how many there are.
std::string weights_table(const Json& result, int columns);

}  // namespace microtome::cli
