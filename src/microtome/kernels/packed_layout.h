// Inside the panels of the packed formats (internal to kernels/). A panel holds 64 columns; k runs over the input width.
//
//   kF32   [K16][64] float                    kBF16  [K32 / 2][64][2] bf16 (k, k + 1)
//
// The formats below are cut into half panels of 32 columns, one after the other, each one stream through memory:
//
//   kF16   [K][32] f16
//   kQ4_0  [K / 32] { f16 d[32]; u32 q[4][32] }               q[g][c]: byte j, low nibble = k 4 g + j, high = k 16 + 4 g + j
//   kQ4_1  [K / 32] { f16 d[32]; f16 m[32]; u32 q[4][32] }    the same
//   kQ8_0  [K / 32] { f16 d[32]; u32 q[8][32] }               q[g][c]: byte j = k 4 g + j
//
// so a block is as large as the checkpoint's own blocks, a q is four bytes of one of them, and one 32-bit lane per column
// yields successive k by shifts alone.
#pragma once

#include <cstdint>

#include "microtome/kernels/packed_matrix.h"

namespace microtome::internal {

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
inline int64_t panel_count(int64_t n) { return (n + kPanelWidth - 1) / kPanelWidth; }

inline constexpr int64_t kHalf = 32;   // columns of a half panel
inline constexpr int64_t kBlock = 32;  // values of k per quantised block

// Bytes of a half panel's block, and where its parts begin.
inline constexpr int64_t kQ40Block = kHalf * 18, kQ41Block = kHalf * 20, kQ80Block = kHalf * 34;
inline constexpr int64_t kQ41Mins = kHalf * 2;
inline constexpr int64_t kQ40Lanes = kHalf * 2, kQ41Lanes = kHalf * 4, kQ80Lanes = kHalf * 2;

// Where sums over k are cut: each chunk is a chain of fused multiply-adds from zero, chunks are added in order. oneDNN's rule.
inline int64_t sum_chunk(int64_t k) { return k <= 1024 ? 512 : 1024; }
inline constexpr int64_t kMaxChunk = 1024;

inline float bf16_to_f32(uint16_t bits) { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }

// Rounded to nearest even; a NaN stays a (quiet) NaN.
inline uint16_t f32_to_bf16(float value) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, exponent = (half >> 10) & 31u, mantissa = half & 1023u;
  if (exponent == 31) return __builtin_bit_cast(float, sign | 0x7f800000u | (mantissa << 13) | (mantissa != 0 ? 0x400000u : 0));
  if (exponent != 0) return __builtin_bit_cast(float, sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
  return sign != 0 ? -magnitude : magnitude;
}

// One value of a packed panel, by definition: what every fast path must agree with.
float panel_value(PackedFormat format, const std::byte* panel, int64_t k_total, int64_t k, int64_t column);

// Columns [0, 64) of k in [begin, end) of one panel as f32, out[(k - begin) * 64 + column]; begin is a multiple of 32.
void widen_panel(PackedFormat format, const std::byte* panel, int64_t k_total, int64_t begin, int64_t end, float* out);

// The definition of a product: plain loops.
void gemm_naive(const float* a, int64_t m, const PackedView& b, float* c);

// Our own kernels; every format, Compute::kF32.
void gemm_highway(const float* a, int64_t m, const PackedView& b, float* c);
void gemm_plain_highway(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n);

}  // namespace microtome::internal
