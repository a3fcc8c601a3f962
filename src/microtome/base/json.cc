#include "microtome/base/json.h"

#include <nlohmann/json.hpp>

#include "microtome/base/error.h"

namespace microtome {

Json parse_json(std::string_view text, std::string_view where) {
  // The depth is bounded before the recursive parser sees the text.
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      else if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > 64) throw Error(ErrorKind::kCorrupt, "{}: JSON nested deeper than 64", where);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::parse_error& e) {
    throw Error(ErrorKind::kCorrupt, "{}: not JSON at byte {}", where, e.byte);
  } catch (const nlohmann::json::exception&) {
    throw Error(ErrorKind::kCorrupt, "{}: JSON holds a number out of range", where);
  }
}

std::string dump_json(const Json& value, int indent) {
  return value.dump(indent, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace microtome
