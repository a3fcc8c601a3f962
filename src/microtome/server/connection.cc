#include "microtome/server/connection.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

double now_s() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// True if the socket has one of `events` (or an error) before the deadline.
bool wait_until(int socket, short events, double deadline) {
  for (;;) {
    const double left = deadline - now_s();
    pollfd p{socket, events, 0};
    const int n = ::poll(&p, 1, std::max(0, static_cast<int>(left * 1000) + 1));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return false;
    if (left <= 0) return false;
  }
}

}  // namespace

Connection::~Connection() {
  linger();
  ::close(socket_);
}

// Closing a socket with unread bytes resets it, and the client may lose the answer that says why its request was refused: so the
// rest of what it sends is read and dropped, up to a bound.
void Connection::linger() {
  constexpr size_t kMostBytes = 32 << 20;
  if (broken_ || ::shutdown(socket_, SHUT_WR) != 0) return;
  std::array<char, 16384> scrap;
  const double deadline = now_s() + limits_.linger_s;
  for (size_t dropped = 0;
       dropped < kMostBytes && !stopping_ && wait_until(socket_, POLLIN, std::min(deadline, now_s() + 0.2));) {
    const ssize_t n = ::recv(socket_, scrap.data(), scrap.size(), MSG_DONTWAIT);
    if (n <= 0 || now_s() > deadline) return;
    dropped += static_cast<size_t>(n);
  }
}

Connection::Got Connection::receive(double deadline) {
  if (!wait_until(socket_, POLLIN, deadline)) return Got::kTimeout;
  std::array<char, 16384> bytes;
  const ssize_t n = ::recv(socket_, bytes.data(), bytes.size(), MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return now_s() < deadline ? receive(deadline) : Got::kTimeout;
  if (n <= 0) {
    broken_ = true;
    return Got::kClosed;
  }
  buffer_.append(bytes.data(), static_cast<size_t>(n));
  return Got::kBytes;
}

bool Connection::wait_for_request() {
  const double deadline = now_s() + limits_.idle_s;
  while (buffer_.empty() && !broken_ && !stopping_ && now_s() < deadline) receive(std::min(deadline, now_s() + 0.1));
  return !buffer_.empty() && !stopping_;
}

std::string Connection::read_head() {
  const double deadline = now_s() + limits_.head_s;
  for (;;) {
    // An empty line before a request is let pass (RFC 9112, section 2.2).
    while (buffer_.starts_with("\r\n")) buffer_.erase(0, 2);
    const size_t end = buffer_.find("\r\n\r\n");
    if (end != std::string::npos && end <= limits_.head_bytes) {
      std::string head = buffer_.substr(0, end + 2);
      buffer_.erase(0, end + 4);
      return head;
    }
    if (buffer_.size() > limits_.head_bytes) {
      const bool line = buffer_.find("\r\n") > limits_.line_bytes;
      throw HttpError(line ? 414 : 431,
                      fmt::format("the request's line and headers have more than {} bytes", limits_.head_bytes));
    }
    switch (receive(deadline)) {
      case Got::kTimeout: throw HttpError(408, fmt::format("the request's headers took more than {} seconds", limits_.head_s));
      case Got::kClosed: throw HttpError(400, "the request ended within its headers");
      default: break;
    }
  }
}

void Connection::read_body(const BodyLength& length, std::string& body) {
  const double deadline = now_s() + limits_.body_s;
  if (length.expects_continue && buffer_.empty()) write("HTTP/1.1 100 Continue\r\n\r\n");
  while (buffer_.size() < length.bytes) {
    switch (receive(deadline)) {
      case Got::kTimeout: throw HttpError(408, fmt::format("the request's body took more than {} seconds", limits_.body_s));
      case Got::kClosed:
        throw HttpError(400, fmt::format("the request's body ended after {} of {} bytes", buffer_.size(), length.bytes));
      default: break;
    }
  }
  body = buffer_.substr(0, length.bytes);
  buffer_.erase(0, length.bytes);
}

HttpRequest Connection::read_request(bool& keep_alive) {
  HttpRequest request;
  keep_alive = false;
  const BodyLength length = parse_head(read_head(), limits_, request);
  read_body(length, request.body);
  keep_alive = length.keep_alive;
  request.client_present = [this] { return client_present(); };
  return request;
}

bool Connection::write(std::string_view bytes) {
  while (!bytes.empty() && !broken_) {
    if (!wait_until(socket_, POLLOUT, now_s() + limits_.write_s)) {
      broken_ = true;
      break;
    }
    const ssize_t n = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (n <= 0) broken_ = true;
    else bytes.remove_prefix(static_cast<size_t>(n));
  }
  return !broken_;
}

bool Connection::client_present() {
  if (broken_) return false;
  pollfd p{socket_, POLLRDHUP, 0};
  if (::poll(&p, 1, 0) > 0) broken_ = true;
  return !broken_;
}

}  // namespace microtome::server
