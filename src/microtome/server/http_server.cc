#include "microtome/server/http_server.h"

#include <httplib.h>
#include <netinet/tcp.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "microtome/base/error.h"
#include "microtome/server/connection.h"
#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

// Threads started as connections come, up to a bound; one connection more runs on the accepting thread, which refuses it.
class ConnectionThreads : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(size_t most) : most_(most) {}

  void enqueue(std::function<void()> serve) override {
    {
      const std::lock_guard lock(mutex_);
      if (busy_ < most_) {
        ++busy_;
        queue_.push_back(std::move(serve));
        if (queue_.size() > idle_) threads_.emplace_back([this] { loop(); });
        else changed_.notify_one();
        return;
      }
    }
    serve();
  }

  void shutdown() override {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

 private:
  void loop() {
    std::unique_lock lock(mutex_);
    for (;;) {
      ++idle_;
      changed_.wait(lock, [&] { return ending_ || !queue_.empty(); });
      --idle_;
      if (queue_.empty()) return;
      const std::function<void()> serve = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      serve();
      lock.lock();
      --busy_;
    }
  }

  const size_t most_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::deque<std::thread> threads_;
  size_t busy_ = 0, idle_ = 0;
  bool ending_ = false;
};

// What one call of the handler answers, as cpp-httplib finds it: it copies the pointer's holder with the request.
struct Exchange {
  Connection* connection;
  const HttpResponse* response;
  bool operator()(uint64_t, uint64_t) const { return true; }
};

// A request as cpp-httplib reads it: a line that we have checked, no headers, no body.
class CheckedStream : public httplib::Stream {
 public:
  CheckedStream(Connection& connection, std::string head) : connection_(connection), head_(std::move(head)) {}
  bool is_readable() const override { return true; }
  bool is_writable() const override { return connection_.client_present(); }
  ssize_t read(char* out, size_t size) override {
    const size_t n = head_.copy(out, size, used_);
    used_ += n;
    return static_cast<ssize_t>(n);
  }
  ssize_t write(const char* bytes, size_t size) override {
    return connection_.write({bytes, size}) ? static_cast<ssize_t>(size) : -1;
  }
  void get_remote_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
  void get_local_ip_and_port(std::string& ip, int& port) const override { ip.clear(), port = 0; }
  socket_t socket() const override { return connection_.socket(); }

 private:
  Connection& connection_;
  std::string head_;
  size_t used_ = 0;
};

class SinkWriter : public StreamWriter {
 public:
  SinkWriter(httplib::DataSink& sink, Connection& connection) : sink_(sink), connection_(connection) {}
  bool write(std::string_view bytes) override { return sink_.write(bytes.data(), bytes.size()) && connection_.client_present(); }
  bool client_present() override { return connection_.client_present(); }

 private:
  httplib::DataSink& sink_;
  Connection& connection_;
};

bool takes_gzip(const HttpRequest& request) {
  const std::string* accepted = request.header("accept-encoding");
  const size_t at = accepted ? accepted->find("gzip") : std::string::npos;
  // "gzip;q=0" refuses it.
  return at != std::string::npos && accepted->compare(at + 4, 4, ";q=0") != 0;
}

// Brings a compressed body into the form that the client takes.
void negotiate(const HttpRequest& request, HttpResponse& response) {
  if (!response.gzip) return;
  response.headers.emplace_back("Vary", "Accept-Encoding");
  if (takes_gzip(request)) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    return;
  }
  std::string plain;
  const auto append = [&](const char* data, size_t n) {
    plain.append(data, n);
    return true;
  };
  if (!httplib::detail::gzip_decompressor().decompress(response.body.data(), response.body.size(), append))
    throw HttpError(500, "the server failed");
  response.body = std::move(plain);
}

void fill(const Exchange& exchange, const httplib::Request& request, httplib::Response& out) {
  const HttpResponse& response = *exchange.response;
  out.status = response.status;
  for (const auto& [name, value] : response.headers) out.set_header(name, value);
  if (!response.stream) {
    out.body = response.body;
    if (!response.content_type.empty()) out.set_header("Content-Type", response.content_type);
    return;
  }
  const auto provider = [exchange](size_t, httplib::DataSink& sink) {
    SinkWriter writer(sink, *exchange.connection);
    exchange.response->stream(writer);
    sink.done();
    return true;
  };
  if (request.version == "HTTP/1.0") out.set_content_provider(response.content_type, provider);
  else out.set_chunked_content_provider(response.content_type, provider);
}

}  // namespace

class HttpServer::Listener : public httplib::Server {
 public:
  Listener(const Limits& limits, RequestHandler handler) : limits_(limits), handler_(std::move(handler)) {
    set_socket_options([](socket_t socket) {
      const int yes = 1;
      ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    set_keep_alive_max_count(limits_.requests_per_connection);
    set_keep_alive_timeout(static_cast<time_t>(limits_.idle_s));
    new_task_queue = [this] { return new ConnectionThreads(limits_.connections); };
    set_pre_routing_handler([](const httplib::Request& request, httplib::Response& response) {
      if (const Exchange* exchange = request.progress.target<Exchange>()) fill(*exchange, request, response);
      else response.status = 500;
      return HandlerResponse::Handled;
    });
  }

  // cpp-httplib asks the kernel for a queue of 5 connections.
  void lengthen_backlog() { ::listen(svr_sock_, 128); }

  std::atomic<bool> stopping{false};
  std::thread::id accepting;

 private:
  bool process_and_close_socket(socket_t socket) override {
    const bool refused = std::this_thread::get_id() == accepting;
    Connection connection(socket, refused ? hurried_ : limits_, stopping);
    const int yes = 1;
    ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (refused) {
      answer(connection, "GET / HTTP/1.1",
             error_response(HttpError(503, "too many connections; try again", {}, {{"Retry-After", "1"}})), false);
      return false;
    }
    for (size_t left = limits_.requests_per_connection; left > 0 && connection.wait_for_request(); --left)
      if (!serve(connection, left > 1)) break;
    return true;
  }

  // One request and its answer. False: the connection must be closed.
  bool serve(Connection& connection, bool more) {
    bool keep_alive = false;
    try {
      const HttpRequest request = connection.read_request(keep_alive);
      HttpResponse response = handler_(request);
      negotiate(request, response);
      // HTTP/1.0 has no chunks: the end of a stream is the end of the connection.
      keep_alive = keep_alive && more && !stopping && !(response.stream && request.minor == 0);
      // cpp-httplib refuses methods that it does not know; all it needs to know is whether the answer has a body.
      const std::string line = (request.method == "HEAD" ? "HEAD / HTTP/1." : "GET / HTTP/1.") + std::to_string(request.minor);
      return answer(connection, line, response, keep_alive) && keep_alive;
    } catch (const HttpError& error) {
      answer(connection, "GET / HTTP/1.1", error_response(error), false);
      return false;
    }
  }

  bool answer(Connection& connection, const std::string& line, const HttpResponse& response, bool keep_alive) {
    CheckedStream stream(connection,
                         line + "\r\n" + (keep_alive ? "Connection: Keep-Alive\r\n\r\n" : "Connection: close\r\n\r\n"));
    bool closed = false;
    const Exchange exchange{&connection, &response};
    const bool written = process_request(stream, !keep_alive, closed, [&](httplib::Request& r) { r.progress = exchange; });
    return written && !closed;
  }

  const Limits limits_;
  const Limits hurried_{.write_s = 0.1, .linger_s = 0.02};  // the accepting thread must not wait for anybody
  const RequestHandler handler_;
};

HttpServer::HttpServer(const Limits& limits, RequestHandler handler)
    : listener_(std::make_unique<Listener>(limits, std::move(handler))) {}
HttpServer::~HttpServer() = default;

int HttpServer::bind(const std::string& host, int port) {
  errno = 0;
  const int bound = port == 0 ? listener_->bind_to_any_port(host) : (listener_->bind_to_port(host, port) ? port : -1);
  if (bound < 0) {
    const int why = errno;
    const std::string reason = why ? std::strerror(why) : "no such address";
    throw Error(ErrorKind::kIo, "cannot listen at {}:{}: {}; {}", printable(host), port, reason,
                why == EADDRINUSE ? "another program is there: choose another port with --port"
                                  : "choose another address with --host and --port");
  }
  listener_->lengthen_backlog();
  return bound;
}

void HttpServer::listen() {
  listener_->accepting = std::this_thread::get_id();
  listener_->listen_after_bind();
}

void HttpServer::stop() {
  listener_->stopping = true;
  listener_->stop();
}

}  // namespace microtome::server
