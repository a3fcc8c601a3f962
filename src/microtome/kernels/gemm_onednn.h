// Products by oneDNN (internal to kernels/; the one file that includes it is gemm_onednn.cc).
#pragma once

#include <cstdint>

#include "microtome/kernels/packed_matrix.h"

namespace microtome::internal {

// Row counts that products are asked for: making a primitive costs some 0.3 ms, so there are few, and what is left over
// (fewer than kMinRows) is for our own kernels.
inline constexpr int64_t kOneDnnMinRows = 64, kOneDnnMaxRows = 512;

// C [m, n] = A [m, k] · B for the largest m that is one of 64, 128, 256, 512 and at most `rows`; returns m, or 0 if oneDNN has
// no implementation that keeps the guarantee (its name must begin with "brg:"), or this is a parallel region. `a` is f32 for
// kF32 panels and bf16 for kBF16 panels. Any thread; calls take turns.
int64_t gemm_onednn(const void* a, int64_t rows, const PackedView& b, float* c);

// oneDNN's name for what would run ("brg:avx512_core"), or "" if nothing would.
const char* onednn_implementation(PackedFormat format);

}  // namespace microtome::internal
