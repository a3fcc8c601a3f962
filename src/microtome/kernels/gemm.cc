#include "microtome/kernels/gemm.h"

#include <vector>

#include "microtome/base/error.h"
#include "microtome/kernels/packed_layout.h"

namespace microtome {
namespace {

GemmImplementation g_implementation = GemmImplementation::kNaive;

}  // namespace

void gemm(const float* a, int64_t m, const PackedView& b, float* c, Compute compute) {
  MT_CHECK(compute == Compute::kF32 || b.format == PackedFormat::kBF16);
  if (compute == Compute::kF32) return internal::gemm_naive(a, m, b, c);
  std::vector<float> rounded(static_cast<size_t>(m * b.k));
  for (int64_t i = 0; i < m * b.k; ++i) rounded[static_cast<size_t>(i)] = internal::bf16_to_f32(internal::f32_to_bf16(a[i]));
  internal::gemm_naive(rounded.data(), m, b, c);
}

void gemm_plain(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n) {
  internal::gemm_plain_naive(a, b, c, m, k, n);
}

GemmImplementation gemm_implementation() { return g_implementation; }
void set_gemm_implementation(GemmImplementation implementation) { g_implementation = implementation; }
const char* gemm_description() { return "naive"; }

}  // namespace microtome
