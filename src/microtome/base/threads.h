// Threads: one pool (OpenMP's, which oneDNN shares), one loop.
//
//   parallel_for(rows, 16, [&](int64_t begin, int64_t end) { ... });
//
// The pieces depend on `n` and `grain` alone, never on the thread count, so a loop whose pieces are independent, or whose
// partial results are combined in order of piece, prints the same digits on any number of threads.
#pragma once

#include <cstdint>
#include <functional>

namespace microtome {

// Threads used from now on; 0: MICROTOME_THREADS, else the processors this process may run on. At least 1, at most 1024.
void set_num_threads(int n);
int num_threads();

namespace internal {
void parallel_for_impl(int64_t pieces, void (*run)(void*, int64_t), void* context);
}

// Calls fn(begin, end) for [0, n) cut into pieces of `grain` (the last may be shorter), each once, in any order, on any
// thread. Runs on the calling thread if there is one piece, one thread, or it is called from inside another parallel_for.
// The first exception is rethrown here, after all pieces that had begun have ended.
template <class Fn>
void parallel_for(int64_t n, int64_t grain, Fn&& fn) {
  if (n <= 0) return;
  if (grain < 1) grain = 1;
  struct Context {
    Fn* fn;
    int64_t n, grain;
  } context{&fn, n, grain};
  internal::parallel_for_impl((n + grain - 1) / grain,
                              [](void* p, int64_t piece) {
                                auto& c = *static_cast<Context*>(p);
                                const int64_t begin = piece * c.grain;
                                (*c.fn)(begin, begin + c.grain < c.n ? begin + c.grain : c.n);
                              },
                              &context);
}

}  // namespace microtome
