// Inside the panels of the packed formats (internal to kernels/). A panel holds 64 columns; k runs over the input width.
//
//   kF32   [K16][64] float                       kBF16  [K32 / 2][64][2] bf16                kF16  [K][64] f16
//   kQ4_0  [K / 32] { f16 d[64]; u32 q[4][64] }               lane q[g][c]: nibble j = k 8 g + j of column c
//   kQ4_1  [K / 32] { f16 d[64]; f16 m[64]; u32 q[4][64] }    the same
//   kQ8_0  [K / 32] { f16 d[64]; u32 q[8][64] }               lane q[g][c]: byte j = k 4 g + j
//
// so a block is as large as the checkpoint's own 64 blocks, and one 32-bit lane per column yields 8 (4) successive k by
// shifts alone.
#pragma once

#include <cstdint>

#include "microtome/kernels/packed_matrix.h"

namespace microtome::internal {

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
inline int64_t panel_count(int64_t n) { return (n + kPanelWidth - 1) / kPanelWidth; }

inline constexpr int64_t kBlock = 32;  // values of k per quantised block
inline constexpr int64_t kQ40BlockBytes = 64 * 18, kQ41BlockBytes = 64 * 20, kQ80BlockBytes = 64 * 34;
inline constexpr int64_t kMinsAt = 128;                                       // of kQ4_1
inline constexpr int64_t kQ40At = 128, kQ41At = 256, kQ80At = 128;            // where the lanes begin

inline float bf16_to_f32(uint16_t bits) { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }

// Rounded to nearest even; NaN stays NaN (quiet), as VCVTNEPS2BF16 does it; unlike the instruction, denormals are kept.
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
float panel_value(PackedFormat format, const std::byte* panel, int64_t k, int64_t column);

// The definition: plain loops.
void gemm_naive(const float* a, int64_t m, const PackedView& b, float* c);
void gemm_plain_naive(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n);

}  // namespace microtome::internal
