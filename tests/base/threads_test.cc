// The one loop: its pieces, its exceptions, its nesting.
#include "microtome/base/threads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <vector>

namespace microtome {
namespace {

class Threads : public testing::Test {
 protected:
  ~Threads() override { set_num_threads(0); }
};

std::vector<std::pair<int64_t, int64_t>> pieces_of(int64_t n, int64_t grain) {
  std::mutex mutex;
  std::vector<std::pair<int64_t, int64_t>> pieces;
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const std::lock_guard<std::mutex> lock(mutex);
    pieces.push_back({begin, end});
  });
  std::sort(pieces.begin(), pieces.end());
  return pieces;
}

TEST_F(Threads, pieces_depend_on_size_and_grain_alone) {
  for (const int threads : {1, 2, 5}) {
    set_num_threads(threads);
    EXPECT_EQ(pieces_of(10, 4), (std::vector<std::pair<int64_t, int64_t>>{{0, 4}, {4, 8}, {8, 10}})) << threads;
    EXPECT_EQ(pieces_of(3, 0).size(), 3u) << threads;
    EXPECT_EQ(pieces_of(3, 100), (std::vector<std::pair<int64_t, int64_t>>{{0, 3}}));
    EXPECT_TRUE(pieces_of(0, 4).empty());
    EXPECT_TRUE(pieces_of(-1, 4).empty());
  }
}

TEST_F(Threads, an_exception_reaches_the_caller_and_the_next_loop_works) {
  for (const int threads : {1, 4}) {
    set_num_threads(threads);
    EXPECT_THROW(parallel_for(50, 1,
                              [](int64_t i, int64_t) {
                                if (i == 17) throw std::runtime_error("17");
                              }),
                 std::runtime_error);
    EXPECT_EQ(pieces_of(50, 1).size(), 50u);
  }
}

TEST_F(Threads, a_loop_within_a_loop_runs_every_piece_once) {
  set_num_threads(3);
  std::vector<std::atomic<int>> seen(12 * 7);
  parallel_for(12, 1, [&](int64_t i, int64_t) {
    parallel_for(7, 2, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) ++seen[i * 7 + j];
    });
  });
  for (const auto& count : seen) EXPECT_EQ(count, 1);
}

TEST_F(Threads, their_number_stays_within_bounds) {
  set_num_threads(100000);
  EXPECT_EQ(num_threads(), 1024);
  set_num_threads(3);
  EXPECT_EQ(num_threads(), 3);
  ::setenv("MICROTOME_THREADS", "2", 1);
  set_num_threads(0);
  EXPECT_EQ(num_threads(), 2);
  for (const char* nonsense : {"0", "-4", "many", "99999"}) {
    ::setenv("MICROTOME_THREADS", nonsense, 1);
    set_num_threads(0);
    const int n = num_threads();
    ::unsetenv("MICROTOME_THREADS");
    set_num_threads(0);
    EXPECT_EQ(n, num_threads()) << nonsense;
  }
}

}  // namespace
}  // namespace microtome
