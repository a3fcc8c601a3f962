// Products of bf16 rows with kBF16 panels on processors with AVX512-BF16 (internal to kernels/).
#pragma once

#include <cstdint>

#include "microtome/kernels/packed_matrix.h"

namespace microtome::internal {

// Whether this processor has the instructions and the chosen instruction set allows them.
bool bf16_products_supported();

// Rounded to nearest even, in parallel.
void round_to_bf16(const float* from, int64_t n, uint16_t* to);

// C [m, n] = A [m, k] · B, A in bf16: the same bits as oneDNN's brg:avx512_core_bf16. Call only if supported.
void gemm_bf16_rows(const uint16_t* a, int64_t m, const PackedView& b, float* c);

// For measuring: `steps` multiply-adds of pairs on independent chains; returns the operations done (four per pair).
double bf16_chains(int64_t steps);

}  // namespace microtome::internal
