// Requests and responses as handlers see them: plain values, whatever carries them.
//
// A request has passed the limits of request_head.h and its body is whole. A response is either a body, or a function that
// writes a stream until it returns or a write fails.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace microtome::server {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;  // "GET"
  std::string path;    // without the query, as sent: nothing served needs percent-decoding
  int minor = 1;       // HTTP/1.minor
  HeaderList headers;  // names in lower case, values trimmed
  std::string body;
  // False once the client has closed its end. May be called at any time while the request is handled, on its thread.
  std::function<bool()> client_present = [] { return true; };

  // Value of a header by its lower-case name; null if absent.
  const std::string* header(std::string_view name) const {
    for (const auto& [key, value] : headers)
      if (key == name) return &value;
    return nullptr;
  }
};

class StreamWriter {
 public:
  virtual ~StreamWriter() = default;
  // False: the client is gone or takes nothing; write no more.
  virtual bool write(std::string_view bytes) = 0;
  virtual bool client_present() = 0;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  HeaderList headers = {};
  std::string body = {};
  bool gzip = false;  // the body is compressed: it is sent so to clients that take it, unpacked to others
  std::function<void(StreamWriter&)> stream = {};  // instead of body
};

}  // namespace microtome::server
