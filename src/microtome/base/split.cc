#include "microtome/base/split.h"

#include <algorithm>

namespace microtome {

std::vector<std::string> split(std::string_view list, char separator) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(separator, begin), list.size());
    out.emplace_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

}  // namespace microtome
