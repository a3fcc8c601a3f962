// A weight matrix W [K, N] (input by output width: y = x W) as products read it: panels of 64 output columns, each panel
// k-major, so that a product streams it once and an output column's sum always runs over k in the same order.
//
//   kF32   panel p: [K16][64] floats, K16 = K rounded up to 16 (zeros): the layout oneDNN calls BA16a64b
//   kBF16  panel p: [K32/2][64][2]: pairs of k side by side (oneDNN: BA16a64b2a)
//   kF16, kQ4_0, kQ4_1, kQ8_0: the checkpoint's own values, re-ordered for 64 columns at a time and widened to f32 on the
//          fly; every product with them has the same bits as with the kF32 matrix of the widened values
//
// Columns beyond N in the last panel are zeros. One packed copy per matrix is all that stays resident.
#pragma once

#include <cstddef>
#include <cstdint>

#include "microtome/kernels/dtype.h"

namespace microtome {

enum class PackedFormat : uint8_t { kF32, kBF16, kF16, kQ4_0, kQ4_1, kQ8_0 };

inline constexpr int64_t kPanelWidth = 64;

struct PackedView {
  PackedFormat format = PackedFormat::kF32;
  int64_t k = 0, n = 0;
  const std::byte* data = nullptr;  // 64-byte aligned, packed_bytes() long
};

const char* packed_format_name(PackedFormat format);

// The format that keeps values of `type` as they are.
PackedFormat native_format(DType type);

int64_t packed_panel_bytes(PackedFormat format, int64_t k);
int64_t packed_bytes(PackedFormat format, int64_t k, int64_t n);

// Widens `n` values of any weight type (F32, F16, BF16, F64, Q4_0, Q4_1, Q8_0) to f32; n a multiple of the block size.
void widen(DType type, const std::byte* source, int64_t n, float* out);

// Packs one panel. columns[c] (c < 64) points to the K values of output column c, contiguous along k, in `type`; null means
// zeros. `format` is kF32, kBF16 (rounded to nearest even) or native_format(type). Panels may be packed on any threads.
void pack_panel(PackedFormat format, DType type, const std::byte* const columns[kPanelWidth], int64_t k, std::byte* panel);

// Packs a plain f32 matrix whose element (k, n) lies at source[k * stride_k + n * stride_n], in parallel; kF32 or kBF16.
void pack_plain(PackedFormat format, const float* source, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                std::byte* packed);

// Columns [begin, end) as plain f32: element (k, n) to out[k * stride_k + (n - begin) * stride_n], in parallel.
void unpack(const PackedView& matrix, int64_t begin, int64_t end, int64_t stride_k, int64_t stride_n, float* out);

}  // namespace microtome
