#include "microtome/kernels/packed_matrix.h"

#include <algorithm>
#include <cstring>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/packed_layout.h"

namespace microtome {
namespace {

using internal::kBlock;

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
void store(std::byte* at, T value) {
  std::memcpy(at, &value, sizeof value);
}

}  // namespace

const char* packed_format_name(PackedFormat format) {
  constexpr const char* kNames[] = {"F32", "BF16", "F16", "Q4_0", "Q4_1", "Q8_0"};
  return kNames[static_cast<int>(format)];
}

PackedFormat native_format(DType type) {
  switch (type) {
    case DType::kBF16: return PackedFormat::kBF16;
    case DType::kF16: return PackedFormat::kF16;
    case DType::kQ4_0: return PackedFormat::kQ4_0;
    case DType::kQ4_1: return PackedFormat::kQ4_1;
    case DType::kQ8_0: return PackedFormat::kQ8_0;
    default: return PackedFormat::kF32;
  }
}

int64_t packed_panel_bytes(PackedFormat format, int64_t k) {
  using internal::round_up;
  switch (format) {
    case PackedFormat::kF32: return round_up(k, 16) * kPanelWidth * 4;
    case PackedFormat::kBF16: return round_up(k, 32) * kPanelWidth * 2;
    case PackedFormat::kF16: return k * kPanelWidth * 2;
    case PackedFormat::kQ4_0: return k / kBlock * 2 * internal::kQ40Block;
    case PackedFormat::kQ4_1: return k / kBlock * 2 * internal::kQ41Block;
    case PackedFormat::kQ8_0: return k / kBlock * 2 * internal::kQ80Block;
  }
  return 0;
}

int64_t packed_bytes(PackedFormat format, int64_t k, int64_t n) {
  return internal::panel_count(n) * packed_panel_bytes(format, k);
}

float internal::panel_value(PackedFormat format, const std::byte* panel, int64_t k_total, int64_t k, int64_t column) {
  if (format == PackedFormat::kF32) return load<float>(panel + (k * 64 + column) * 4);
  if (format == PackedFormat::kBF16) return bf16_to_f32(load<uint16_t>(panel + (k / 2 * 128 + column * 2 + k % 2) * 2));
  const std::byte* half = panel + column / kHalf * packed_panel_bytes(format, k_total) / 2;
  const int64_t c = column % kHalf, block = k / kBlock, i = k % kBlock;
  const auto nibble = [&](const std::byte* lanes) {
    const int byte = static_cast<int>(lanes[(i % 16 / 4 * kHalf + c) * 4 + i % 4]);
    return static_cast<float>(i < 16 ? byte & 15 : byte >> 4);
  };
  switch (format) {
    case PackedFormat::kQ4_0: {
      const std::byte* at = half + block * kQ40Block;
      return f16_to_f32(load<uint16_t>(at + c * 2)) * (nibble(at + kQ40Lanes) - 8);
    }
    case PackedFormat::kQ4_1: {
      const std::byte* at = half + block * kQ41Block;
      const float d = f16_to_f32(load<uint16_t>(at + c * 2)), m = f16_to_f32(load<uint16_t>(at + kQ41Mins + c * 2));
      return d * nibble(at + kQ41Lanes) + m;
    }
    case PackedFormat::kQ8_0: {
      const std::byte* at = half + block * kQ80Block;
      const auto q = load<int8_t>(at + kQ80Lanes + (i / 4 * kHalf + c) * 4 + i % 4);
      return f16_to_f32(load<uint16_t>(at + c * 2)) * static_cast<float>(q);
    }
    default: return f16_to_f32(load<uint16_t>(half + (k * kHalf + c) * 2));
  }
}

namespace {

void put(PackedFormat format, std::byte* panel, int64_t k, int64_t column, float value) {
  if (format == PackedFormat::kF32) {
    store(panel + (k * 64 + column) * 4, value);
  } else {
    store(panel + (k / 2 * 128 + column * 2 + k % 2) * 2, internal::f32_to_bf16(value));
  }
}

}  // namespace

void pack_plain(PackedFormat format, const float* source, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                std::byte* packed) {
  MT_CHECK(format == PackedFormat::kF32 || format == PackedFormat::kBF16);
  const int64_t panel_bytes = packed_panel_bytes(format, k);
  parallel_for(internal::panel_count(n), 1, [&](int64_t p, int64_t) {
    std::byte* panel = packed + p * panel_bytes;
    const float* from = source + p * kPanelWidth * stride_n;
    const int64_t width = std::min(kPanelWidth, n - p * kPanelWidth);
    if (stride_k == 1) {
      const std::byte* columns[kPanelWidth] = {};
      for (int64_t c = 0; c < width; ++c) columns[c] = reinterpret_cast<const std::byte*>(from + c * stride_n);
      return pack_panel(format, DType::kF32, columns, k, panel);
    }
    std::memset(panel, 0, static_cast<size_t>(panel_bytes));
    for (int64_t i = 0; i < k; ++i, from += stride_k) {
      if (format == PackedFormat::kF32 && stride_n == 1) {
        std::memcpy(panel + i * kPanelWidth * 4, from, static_cast<size_t>(width) * sizeof(float));
      } else {
        for (int64_t c = 0; c < width; ++c) put(format, panel, i, c, from[c * stride_n]);
      }
    }
  });
}

void unpack(const PackedView& matrix, int64_t begin, int64_t end, int64_t stride_k, int64_t stride_n, float* out) {
  if (begin >= end) return;
  constexpr int64_t kStep = 64;
  const int64_t panel_bytes = packed_panel_bytes(matrix.format, matrix.k), first = begin / kPanelWidth;
  parallel_for(internal::panel_count(end) - first, 1, [&](int64_t piece, int64_t) {
    alignas(64) float part[kStep * kPanelWidth];
    const int64_t at = (first + piece) * kPanelWidth, from = std::max(begin, at), to = std::min(end, at + kPanelWidth);
    for (int64_t k = 0; k < matrix.k; k += kStep) {
      const int64_t count = std::min(kStep, matrix.k - k);
      internal::widen_panel(matrix.format, matrix.data + (first + piece) * panel_bytes, matrix.k, k, k + count, part);
      float* const target = out + k * stride_k + (from - begin) * stride_n;
      if (stride_n == 1) {
        const size_t bytes = static_cast<size_t>(to - from) * sizeof(float);
        for (int64_t i = 0; i < count; ++i) std::memcpy(target + i * stride_k, part + i * kPanelWidth + from - at, bytes);
        continue;
      }
      for (int64_t c = from; c < to; ++c) {
        for (int64_t i = 0; i < count; ++i) target[i * stride_k + (c - from) * stride_n] = part[i * kPanelWidth + c - at];
      }
    }
  });
}

}  // namespace microtome
