// A list in one word, as options and requests give it: split("a,b") is {"a", "b"}. Empty pieces are kept, so that whoever reads a
// piece refuses it; "" is one empty piece.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace microtome {

std::vector<std::string> split(std::string_view list, char separator = ',');

}  // namespace microtome
