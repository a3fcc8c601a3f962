// The one door to matrix products.
//
//   gemm(x, rows, w, y);            // y [rows, N] = x [rows, K] · w [K, N]
//
// Guarantee: row r of the result depends on row r of `a` and on B alone: the same bits for any number of rows, any
// neighbours and any number of threads (decoding specification, section 5). Each sum is one chain of fused multiply-adds
// over k in rising order, cut at fixed k; chunks are added in order.
//
// Implementations: oneDNN (where its implementation's name begins with "brg:" and operands are dense), our own Highway
// kernels (else, and for few rows, in the same order of summation), naive loops (the definition). MICROTOME_GEMM=onednn |
// highway | naive picks one. All functions are parallel inside; they may be called from one thread at a time per process
// or from inside parallel_for (then they run on the calling thread).
#pragma once

#include <cstdint>

#include "microtome/kernels/packed_matrix.h"

namespace microtome {

enum class Compute : uint8_t {
  kF32,   // f32 products and sums; stored formats are widened exactly
  kBF16,  // activations rounded to bf16, B must be kBF16, sums in f32
};

// C [m, n] = A [m, k] · B; A and C dense, row-major. m, k, n >= 1.
void gemm(const float* a, int64_t m, const PackedView& b, float* c, Compute compute = Compute::kF32);

// The same with a plain row-major B [k, n] that is used once (activations, gradients).
void gemm_plain(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n);

enum class GemmImplementation : uint8_t { kOneDnn, kHighway, kNaive };

// What runs, and for tests and benchmarks: choose. kOneDnn falls back to kHighway where the guarantee does not hold.
GemmImplementation gemm_implementation();
void set_gemm_implementation(GemmImplementation implementation);

// "onednn brg:avx512_core (f32), ..." as reported by `bench`.
const char* gemm_description();

}  // namespace microtome
