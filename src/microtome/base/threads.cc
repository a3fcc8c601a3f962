#include "microtome/base/threads.h"

#include <omp.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <mutex>

namespace microtome {
namespace {

int default_threads() {
  if (const char* text = std::getenv("MICROTOME_THREADS")) {
    const int n = std::atoi(text);
    if (n >= 1 && n <= 1024) return n;
  }
  return omp_get_num_procs();
}

std::atomic<int> g_threads{0};

}  // namespace

void set_num_threads(int n) {
  if (n <= 0) n = default_threads();
  if (n > 1024) n = 1024;
  g_threads = n;
  omp_set_num_threads(n);
}

int num_threads() {
  if (g_threads == 0) set_num_threads(0);
  return g_threads;
}

namespace internal {

void parallel_for_impl(int64_t pieces, void (*run)(void*, int64_t), void* context) {
  const int threads = pieces < num_threads() ? static_cast<int>(pieces) : num_threads();
  if (threads <= 1 || omp_in_parallel()) {
    for (int64_t i = 0; i < pieces; ++i) run(context, i);
    return;
  }
  std::exception_ptr failure;
  std::mutex mutex;
  std::atomic<bool> failed{false};
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int64_t i = 0; i < pieces; ++i) {
    if (failed.load(std::memory_order_relaxed)) continue;
    try {
      run(context, i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace internal
}  // namespace microtome
