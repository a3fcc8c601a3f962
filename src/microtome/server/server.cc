#include "microtome/server/server.h"

#include <csignal>
#include <cstdio>
#include <future>
#include <thread>

#include "microtome/server/app.h"
#include "microtome/server/http_server.h"

namespace microtome {
namespace {

// SIGINT and SIGTERM, blocked in every thread that starts later and taken by the one that waits for them.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGINT);
    sigaddset(&set_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
  }
  ~StopSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

  // True if one came within the time.
  bool wait(long milliseconds) const {
    const timespec time{0, milliseconds * 1'000'000};
    return sigtimedwait(&set_, nullptr, &time) > 0;
  }

 private:
  sigset_t set_, before_;
};

std::string url(const std::string& host, int port) {
  const std::string shown = host == "0.0.0.0" || host == "::" ? "127.0.0.1" : host;
  return shown.find(':') == std::string::npos ? fmt::format("http://{}:{}", shown, port)
                                              : fmt::format("http://[{}]:{}", shown, port);
}

}  // namespace

int serve(const ServeOptions& options) {
  if (options.port < 0 || options.port > 65535)
    throw Error(ErrorKind::kInvalidArgument, "port is {}, expected 0 (any free one) to 65535", options.port);
  server::check_origins(options.allow_origins);
  const StopSignals signals;
  server::Engine engine;
  server::ModelSlot slot(options.model_name, static_cast<bool>(options.load));
  server::App app(engine, slot, {.host = options.host, .allow_origins = options.allow_origins});
  server::HttpServer http({}, [&](const server::HttpRequest& request) { return app.handle(request); });
  const int port = http.bind(options.host, options.port);

  std::shared_ptr<server::Ticket> loading;
  if (options.load) loading = engine.submit([&](server::Job&) { slot.set(options.load()); });
  std::promise<void> ended;
  std::future<void> end = ended.get_future();
  std::thread listener([&] {
    http.listen();
    ended.set_value();
  });
  std::printf("microtome is at %s\n", url(options.host, port).c_str());
  std::fflush(stdout);

  // Until a signal comes, or the model cannot be loaded, or the listener fails.
  std::exception_ptr failure;
  std::string none;
  while (!signals.wait(200) && end.wait_for(std::chrono::seconds(0)) == std::future_status::timeout && !failure) {
    if (!loading || loading->next(none, std::chrono::milliseconds(0)) != server::Ticket::kDone) continue;
    try {
      loading->rethrow();
    } catch (...) {
      failure = std::current_exception();
    }
    loading = nullptr;
  }
  engine.stop();
  // A stop before the listener has begun goes unheard.
  do http.stop();
  while (end.wait_for(std::chrono::milliseconds(100)) == std::future_status::timeout);
  listener.join();
  if (failure) std::rethrow_exception(failure);
  return 0;
}

}  // namespace microtome
