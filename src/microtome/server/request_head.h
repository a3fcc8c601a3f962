// The head of a request: its line and headers, parsed strictly and within limits. Pure.
//
//   HttpRequest request;
//   BodyLength body = parse_head("POST /api/lens HTTP/1.1\r\nHost: ...", limits, request);    // throws HttpError: 400, 411, 413,
//   ...
//
// cpp-httplib 0.11.4 takes any number of headers, chunked bodies of any length and a body after an error, so it never sees
// what a client sent: this parser decides, and connection.h reads the body.
#pragma once

#include <cstdint>

#include "microtome/server/http_message.h"

namespace microtome::server {

struct Limits {
  size_t head_bytes = 16 << 10;  // request line and headers together
  size_t line_bytes = 4 << 10;   // request line
  size_t headers = 64;
  uint64_t body_bytes = 8 << 20;
  double head_s = 10;       // from the first byte to the last of the head
  double body_s = 30;       // the whole body
  double idle_s = 15;       // between two requests, and before the first
  double write_s = 20;      // a write that makes no headway
  double linger_s = 1;      // for the client to read the last answer
  size_t connections = 64;  // at once; more get 503
  size_t requests_per_connection = 1000;
};

struct BodyLength {
  uint64_t bytes = 0;
  bool expects_continue = false;  // the client waits for "100 Continue"
  bool keep_alive = true;
};

// `head`: everything before the empty line, with the CRLF of its last header. Throws HttpError; nothing that follows the head on
// the connection can be trusted then.
BodyLength parse_head(std::string_view head, const Limits& limits, HttpRequest& request);

}  // namespace microtome::server
