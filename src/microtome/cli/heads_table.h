// Head scores on a terminal.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::cli {

// The result of the heads command as text, at most `columns` wide: a heat map of each detector (layers down, heads across, in
// percent, with `colour` also as background), as many side by side as fit; then the top heads of each detector beside its
// control; then what --verify found.
std::string heads_table(const Json& result, int columns, bool colour);

}  // namespace microtome::cli
