// The HTTP server: accepts connections, reads requests, writes what a handler answers.
//
//   HttpServer http(limits, [](const HttpRequest& request) { return HttpResponse{.body = "{}"}; });
//   const int port = http.bind("127.0.0.1", 8571);
//   http.listen();                                  // until stop()
//
// cpp-httplib accepts and writes responses. What its version 0.11.4 leaves open is closed around it:
//   - a second server may bind the same port (it sets SO_REUSEPORT): the socket's options are ours;
//   - chunked bodies pass its size limit, the number of headers is unbounded, a client that sends a byte now and then is waited
//     for: requests are read by Connection, and cpp-httplib sees a head without headers and no body;
//   - connections queue without bound: at most `limits.connections` are served at once, each on a thread of its own, others
//     get 503 at once.
//
// The handler is called from many threads at once and must not throw.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "microtome/server/http_message.h"
#include "microtome/server/request_head.h"

namespace microtome::server {

using RequestHandler = std::function<HttpResponse(const HttpRequest&)>;

class HttpServer {
 public:
  HttpServer(const Limits& limits, RequestHandler handler);
  ~HttpServer();

  // Binds and returns the port; 0 takes a free one. Throws Io.
  int bind(const std::string& host, int port);

  // Serves until stop(); returns when every connection has ended.
  void listen();

  // From any thread. Connections that wait for a request end, those being answered end with their answer.
  void stop();

 private:
  class Listener;
  std::unique_ptr<Listener> listener_;
};

}  // namespace microtome::server
