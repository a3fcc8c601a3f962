#include "microtome/circuits/heads/pattern_check.h"

#include <cmath>

#include "microtome/base/error.h"

namespace microtome::heads {
namespace {

constexpr double kTolerance = 1e-3;

[[noreturn]] void refuse(int64_t head, int64_t row, const std::string& what) {
  throw Error(ErrorKind::kInvalidArgument,
              "patterns: head {}, row {}{}; give attention after the softmax, [heads, queries, keys]", head, row, what);
}

void check_row(const float* values, int64_t n, int64_t head, int64_t row) {
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    const float x = values[j];
    if (!std::isfinite(x)) refuse(head, row, fmt::format(", column {} is {}, expected a finite number", j, x));
    if (x < 0) refuse(head, row, fmt::format(", column {} is {:.4g}, expected at least 0", j, x));
    if (j > row && x > kTolerance) refuse(head, row, fmt::format(", column {} is {:.4g}: above the diagonal it must be 0", j, x));
    sum += x;
  }
  if (std::abs(sum - 1) > kTolerance) refuse(head, row, fmt::format(" sums to {:.4g}, expected 1", sum));
}

}  // namespace

void check_pattern(const Tensor& pattern) {
  MT_CHECK_EQ(pattern.rank(), 3);
  const int64_t heads = pattern.size(0), rows = pattern.size(1), columns = pattern.size(2);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < rows; ++i) check_row(pattern.f32() + (h * rows + i) * columns, columns, h, i);
}

}  // namespace microtome::heads
