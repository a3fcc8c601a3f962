// The definition of a product: one sum after the other.
#include <cmath>

#include "microtome/base/threads.h"
#include "microtome/kernels/packed_layout.h"

namespace microtome::internal {

void gemm_naive(const float* a, int64_t m, const PackedView& b, float* c) {
  const int64_t panel_bytes = packed_panel_bytes(b.format, b.k);
  parallel_for(b.n, 1, [&](int64_t column, int64_t) {
    const std::byte* panel = b.data + column / kPanelWidth * panel_bytes;
    for (int64_t row = 0; row < m; ++row) {
      float sum = 0;
      for (int64_t k = 0; k < b.k; ++k) {
        sum = std::fma(a[row * b.k + k], panel_value(b.format, panel, k, column % kPanelWidth), sum);
      }
      c[row * b.n + column] = sum;
    }
  });
}

void gemm_plain_naive(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n) {
  parallel_for(m, 1, [&](int64_t row, int64_t) {
    for (int64_t column = 0; column < n; ++column) {
      float sum = 0;
      for (int64_t i = 0; i < k; ++i) sum = std::fma(a[row * k + i], b[i * n + column], sum);
      c[row * n + column] = sum;
    }
  });
}

}  // namespace microtome::internal
