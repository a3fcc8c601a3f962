// Server-sent events: one JSON value a frame. Pure.
#pragma once

#include <string>

#include "microtome/base/json.h"

namespace microtome::server {

// `json`: dumped on one line, so that one data line carries it.
inline std::string sse_line(const std::string& json) { return "data: " + json + "\n\n"; }
inline std::string sse_event(const Json& data) { return sse_line(dump_json(data)); }

// A comment: keeps the connection busy, clients skip it.
inline std::string sse_comment(const std::string& text) { return ": " + text + "\n\n"; }

// What ends an OpenAI stream.
inline std::string sse_done() { return "data: [DONE]\n\n"; }

}  // namespace microtome::server
