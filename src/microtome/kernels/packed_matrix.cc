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
    case PackedFormat::kQ4_0: return k / kBlock * internal::kQ40BlockBytes;
    case PackedFormat::kQ4_1: return k / kBlock * internal::kQ41BlockBytes;
    case PackedFormat::kQ8_0: return k / kBlock * internal::kQ80BlockBytes;
  }
  return 0;
}

int64_t packed_bytes(PackedFormat format, int64_t k, int64_t n) {
  return internal::panel_count(n) * packed_panel_bytes(format, k);
}

float internal::panel_value(PackedFormat format, const std::byte* panel, int64_t k, int64_t column) {
  const int64_t block = k / kBlock, i = k % kBlock;
  const auto nibble = [&](const std::byte* lanes) {
    return static_cast<int>((load<uint32_t>(lanes + ((i / 8) * 64 + column) * 4) >> (4 * (i % 8))) & 15u);
  };
  switch (format) {
    case PackedFormat::kF32: return load<float>(panel + (k * 64 + column) * 4);
    case PackedFormat::kBF16: return bf16_to_f32(load<uint16_t>(panel + (k / 2 * 128 + column * 2 + k % 2) * 2));
    case PackedFormat::kF16: return f16_to_f32(load<uint16_t>(panel + (k * 64 + column) * 2));
    case PackedFormat::kQ4_0: {
      const std::byte* at = panel + block * kQ40BlockBytes;
      return f16_to_f32(load<uint16_t>(at + column * 2)) * static_cast<float>(nibble(at + kQ40At) - 8);
    }
    case PackedFormat::kQ4_1: {
      const std::byte* at = panel + block * kQ41BlockBytes;
      const float d = f16_to_f32(load<uint16_t>(at + column * 2)), m = f16_to_f32(load<uint16_t>(at + kMinsAt + column * 2));
      return d * static_cast<float>(nibble(at + kQ41At)) + m;
    }
    case PackedFormat::kQ8_0: {
      const std::byte* at = panel + block * kQ80BlockBytes;
      const int8_t q = load<int8_t>(at + kQ80At + ((i / 4) * 64 + column) * 4 + i % 4);
      return f16_to_f32(load<uint16_t>(at + column * 2)) * static_cast<float>(q);
    }
  }
  return 0;
}

void widen(DType type, const std::byte* source, int64_t n, float* out) {
  using namespace internal;
  switch (type) {
    case DType::kF32: std::memcpy(out, source, static_cast<size_t>(n) * 4); return;
    case DType::kF64:
      for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(load<double>(source + i * 8));
      return;
    case DType::kF16:
      for (int64_t i = 0; i < n; ++i) out[i] = f16_to_f32(load<uint16_t>(source + i * 2));
      return;
    case DType::kBF16:
      for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_f32(load<uint16_t>(source + i * 2));
      return;
    case DType::kQ4_0:
    case DType::kQ4_1: {
      const bool has_min = type == DType::kQ4_1;
      for (int64_t b = 0; b < n / kBlock; ++b, source += has_min ? 20 : 18, out += kBlock) {
        const float d = f16_to_f32(load<uint16_t>(source)), m = has_min ? f16_to_f32(load<uint16_t>(source + 2)) : 0;
        for (int64_t i = 0; i < 32; ++i) {
          const int q = (static_cast<int>(source[(has_min ? 4 : 2) + i % 16]) >> (i < 16 ? 0 : 4)) & 15;
          out[i] = has_min ? d * static_cast<float>(q) + m : d * static_cast<float>(q - 8);
        }
      }
      return;
    }
    case DType::kQ8_0:
      for (int64_t b = 0; b < n / kBlock; ++b, source += 34, out += kBlock) {
        const float d = f16_to_f32(load<uint16_t>(source));
        for (int64_t i = 0; i < 32; ++i) out[i] = d * static_cast<float>(load<int8_t>(source + 2 + i));
      }
      return;
    default: MT_CHECK(!"widen: not a weight type");
  }
}

namespace {

void pack_column_native(PackedFormat format, const std::byte* column, int64_t k, int64_t c, std::byte* panel) {
  using namespace internal;
  if (format == PackedFormat::kF16) {
    for (int64_t i = 0; i < k; ++i) store(panel + (i * 64 + c) * 2, load<uint16_t>(column + i * 2));
    return;
  }
  for (int64_t b = 0; b < k / kBlock; ++b) {
    if (format == PackedFormat::kQ8_0) {
      std::byte* at = panel + b * kQ80BlockBytes;
      store(at + c * 2, load<uint16_t>(column + b * 34));
      for (int64_t g = 0; g < 8; ++g) store(at + kQ80At + (g * 64 + c) * 4, load<uint32_t>(column + b * 34 + 2 + g * 4));
      continue;
    }
    const bool has_min = format == PackedFormat::kQ4_1;
    std::byte* at = panel + b * (has_min ? kQ41BlockBytes : kQ40BlockBytes);
    const std::byte* block = column + b * (has_min ? 20 : 18);
    store(at + c * 2, load<uint16_t>(block));
    if (has_min) store(at + kMinsAt + c * 2, load<uint16_t>(block + 2));
    const std::byte* nibbles = block + (has_min ? 4 : 2);
    for (int64_t g = 0; g < 4; ++g) {
      uint32_t lane = 0;
      for (int64_t j = 0; j < 8; ++j) {
        const int64_t i = g * 8 + j;
        lane |= ((static_cast<uint32_t>(nibbles[i % 16]) >> (i < 16 ? 0 : 4)) & 15u) << (4 * j);
      }
      store(at + (has_min ? kQ41At : kQ40At) + (g * 64 + c) * 4, lane);
    }
  }
}

void put(PackedFormat format, std::byte* panel, int64_t k, int64_t column, float value) {
  if (format == PackedFormat::kF32) {
    store(panel + (k * 64 + column) * 4, value);
  } else {
    store(panel + (k / 2 * 128 + column * 2 + k % 2) * 2, internal::f32_to_bf16(value));
  }
}

}  // namespace

void pack_panel(PackedFormat format, DType type, const std::byte* const columns[kPanelWidth], int64_t k, std::byte* panel) {
  std::memset(panel, 0, static_cast<size_t>(packed_panel_bytes(format, k)));
  const bool plain = format == PackedFormat::kF32 || format == PackedFormat::kBF16;
  MT_CHECK(plain || format == native_format(type));
  constexpr int64_t kStep = 256;
  float values[kStep];
  for (int64_t c = 0; c < kPanelWidth; ++c) {
    if (columns[c] == nullptr) continue;
    if (!plain) {
      pack_column_native(format, columns[c], k, c, panel);
      continue;
    }
    for (int64_t begin = 0; begin < k; begin += kStep) {
      const int64_t count = std::min(kStep, k - begin);
      widen(type, columns[c] + dtype_bytes(type, begin), count, values);
      for (int64_t i = 0; i < count; ++i) put(format, panel, begin + i, c, values[i]);
    }
  }
}

void pack_plain(PackedFormat format, const float* source, int64_t k, int64_t n, int64_t stride_k, int64_t stride_n,
                std::byte* packed) {
  MT_CHECK(format == PackedFormat::kF32 || format == PackedFormat::kBF16);
  const int64_t panel_bytes = packed_panel_bytes(format, k);
  parallel_for(internal::panel_count(n), 1, [&](int64_t p, int64_t) {
    std::byte* panel = packed + p * panel_bytes;
    std::memset(panel, 0, static_cast<size_t>(panel_bytes));
    const int64_t width = std::min(kPanelWidth, n - p * kPanelWidth);
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t c = 0; c < width; ++c) put(format, panel, i, c, source[i * stride_k + (p * kPanelWidth + c) * stride_n]);
    }
  });
}

void unpack(const PackedView& matrix, int64_t begin, int64_t end, int64_t stride_k, int64_t stride_n, float* out) {
  const int64_t panel_bytes = packed_panel_bytes(matrix.format, matrix.k);
  parallel_for(end - begin, 16, [&](int64_t from, int64_t to) {
    for (int64_t c = begin + from; c < begin + to; ++c) {
      const std::byte* panel = matrix.data + c / kPanelWidth * panel_bytes;
      for (int64_t k = 0; k < matrix.k; ++k) {
        out[k * stride_k + (c - begin) * stride_n] = internal::panel_value(matrix.format, panel, k, c % kPanelWidth);
      }
    }
  });
}

}  // namespace microtome
