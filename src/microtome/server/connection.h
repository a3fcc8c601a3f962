// One accepted socket: requests read whole, within limits and deadlines, and bytes written until the client takes them no more.
//
// Belongs to one thread. Closes the socket, after letting the client read the last answer.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "microtome/server/request_head.h"

namespace microtome::server {

class Connection {
 public:
  // `stopping`: the server shuts down; waits for a next request end then.
  Connection(int socket, const Limits& limits, const std::atomic<bool>& stopping)
      : socket_(socket), limits_(limits), stopping_(stopping) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False: the client has closed, stays idle for too long, or the server stops.
  bool wait_for_request();

  // The next request. Throws HttpError (400, 408, 411, 413, 414, 431, ...): answer it, then close, for what follows in the
  // stream cannot be told apart from a body. `keep_alive`: whether another request may come.
  HttpRequest read_request(bool& keep_alive);

  // False once a write has failed or made no headway within the limit.
  bool write(std::string_view bytes);

  // False once the client has closed its end, or a write has failed.
  bool client_present();

  int socket() const { return socket_; }

 private:
  enum class Got { kBytes, kClosed, kTimeout };
  Got receive(double deadline);
  std::string read_head();
  void read_body(const BodyLength& length, std::string& body);
  void linger();

  const int socket_;
  const Limits& limits_;
  const std::atomic<bool>& stopping_;
  std::string buffer_;  // received, not yet used
  bool broken_ = false;
};

}  // namespace microtome::server
