// JSON: the facade over nlohmann/json. Untrusted text goes through parse_json (depth and size bounded, errors of our own
// kind); output through dump_json (bad UTF-8 replaced, non-finite numbers as null, keys in order of insertion).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace microtome {

using Json = nlohmann::ordered_json;

// Throws kCorrupt: "WHERE: not JSON at byte 17: ...". Nesting deeper than 64 is refused.
Json parse_json(std::string_view text, std::string_view where);

// One line if indent < 0.
std::string dump_json(const Json& value, int indent = -1);

}  // namespace microtome
