// The definition of a product: one sum after the other.
#include <algorithm>
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
      for (int64_t begin = 0; begin < b.k; begin += sum_chunk(b.k)) {
        float chunk = 0;
        for (int64_t k = begin; k < std::min(b.k, begin + sum_chunk(b.k)); ++k) {
          chunk = std::fma(a[row * b.k + k], panel_value(b.format, panel, b.k, k, column % kPanelWidth), chunk);
        }
        sum = begin == 0 ? chunk : sum + chunk;
      }
      c[row * b.n + column] = sum;
    }
  });
}

}  // namespace microtome::internal
