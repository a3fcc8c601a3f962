#include "microtome/cli/interrupt.h"

#include <unistd.h>

#include <atomic>
#include <csignal>

#include "microtome/base/error.h"

namespace microtome::cli {
namespace {

// The one global of this folder: a signal handler is given nothing else.
std::atomic<Progress*> g_progress{nullptr};
static_assert(std::atomic<Progress*>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

void on_signal(int) {
  Progress* progress = g_progress.load();
  if (progress == nullptr || progress->cancelled()) ::_exit(130);
  progress->cancel();
}

}  // namespace

void install_interrupt_handlers() {
  struct sigaction action {};
  action.sa_handler = on_signal;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
  // A reader that left shows up as an error of write().
  std::signal(SIGPIPE, SIG_IGN);
}

InterruptGuard::InterruptGuard(Progress& progress) {
  Progress* none = nullptr;
  MT_CHECK(g_progress.compare_exchange_strong(none, &progress));
}

InterruptGuard::~InterruptGuard() { g_progress = nullptr; }

}  // namespace microtome::cli
