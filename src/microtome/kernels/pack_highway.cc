// Widening and packing, for every instruction set.
#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/pack_highway.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "hwy/highway.h"
#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/gemm_bf16.h"
#include "microtome/kernels/packed_layout.h"
#include "microtome/kernels/stored_formats-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

void widen_f16(const std::byte* from, int64_t n, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) hn::StoreU(load_f16(from + 2 * i), F32(), out + i);
  for (; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, sizeof bits);
    out[i] = internal::f16_to_f32(bits);
  }
}

void widen_bf16(const std::byte* from, int64_t n, float* out) {
  const U32 u;
  const hn::Rebind<uint16_t, F32> half;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VU wide = hn::PromoteTo(u, hn::LoadU(half, reinterpret_cast<const uint16_t*>(from + 2 * i)));
    hn::StoreU(hn::BitCast(F32(), hn::ShiftLeft<16>(wide)), F32(), out + i);
  }
  for (; i < n; ++i) {
    uint16_t bits;
    std::memcpy(&bits, from + 2 * i, sizeof bits);
    out[i] = internal::bf16_to_f32(bits);
  }
}

// out = d * q + m over bytes q[n] already spread to integers.
template <class Convert>
HWY_INLINE void affine(const uint8_t* q, int64_t n, float d, float m, bool has_min, float* out, Convert&& convert) {
  const hn::CappedTag<float, 16> df;
  const auto scale = hn::Set(df, d), min = hn::Set(df, m);
  for (int64_t i = 0; i < n; i += static_cast<int64_t>(hn::Lanes(df))) {
    const auto value = convert(df, q + i);
    hn::StoreU(has_min ? hn::MulAdd(scale, value, min) : hn::Mul(scale, value), df, out + i);
  }
}

void widen_quantised(DType type, const std::byte* source, int64_t n, float* out) {
  const int64_t bytes = dtype_block_bytes(type), head = type == DType::kQ4_1 ? 4 : 2;
  const auto unsigned_value = [](auto df, const uint8_t* q) HWY_ATTR {
    const hn::Rebind<uint8_t, decltype(df)> d8;
    const hn::Rebind<int32_t, decltype(df)> d32;
    return hn::ConvertTo(df, hn::PromoteTo(d32, hn::LoadU(d8, q)));
  };
  const auto centred_value = [&](auto df, const uint8_t* q)
                                 HWY_ATTR { return hn::Sub(unsigned_value(df, q), hn::Set(df, 8.0f)); };
  const auto signed_value = [](auto df, const uint8_t* q) HWY_ATTR {
    const hn::Rebind<int8_t, decltype(df)> d8;
    const hn::Rebind<int32_t, decltype(df)> d32;
    return hn::ConvertTo(df, hn::PromoteTo(d32, hn::LoadU(d8, reinterpret_cast<const int8_t*>(q))));
  };
  for (int64_t b = 0; b < n / kBlock; ++b, source += bytes, out += kBlock) {
    uint16_t d_bits, m_bits = 0;
    std::memcpy(&d_bits, source, 2);
    if (type == DType::kQ4_1) std::memcpy(&m_bits, source + 2, 2);
    const float d = internal::f16_to_f32(d_bits), m = internal::f16_to_f32(m_bits);
    if (type == DType::kQ8_0) {
      affine(reinterpret_cast<const uint8_t*>(source + head), kBlock, d, 0, false, out, signed_value);
      continue;
    }
    uint64_t nibbles[2];
    alignas(16) uint64_t q[4];
    std::memcpy(nibbles, source + head, sizeof nibbles);
    for (int i = 0; i < 2; ++i) {
      q[i] = nibbles[i] & 0x0f0f0f0f0f0f0f0fu;
      q[i + 2] = (nibbles[i] >> 4) & 0x0f0f0f0f0f0f0f0fu;
    }
    const auto* bytes_of_q = reinterpret_cast<const uint8_t*>(q);
    if (type == DType::kQ4_1) {
      affine(bytes_of_q, kBlock, d, m, true, out, unsigned_value);
    } else {
      affine(bytes_of_q, kBlock, d, 0, false, out, centred_value);
    }
  }
}

void round_rows(const float* from, int64_t n, uint16_t* to) {
  const U32 u;
  const hn::Rebind<uint16_t, F32> half;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const VU bits = hn::BitCast(u, hn::LoadU(F32(), from + i));
    const VU odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1u));
    const VU rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(u, 0x7fffu))));
    const VU nan = hn::Or(hn::ShiftRight<16>(bits), hn::Set(u, 0x40u));
    const auto is_nan = hn::Gt(hn::BitCast(I32(), hn::And(bits, hn::Set(u, 0x7fffffffu))), hn::Set(I32(), 0x7f800000));
    const VU result = hn::IfThenElse(hn::RebindMask(u, is_nan), nan, rounded);
    hn::StoreU(hn::TruncateTo(half, result), half, to + i);
  }
  for (; i < n; ++i) to[i] = internal::f32_to_bf16(from[i]);
}

// Half panel `base` in a stored format to half of an f32 panel, past the caches.
template <class Format>
void stream_half(const std::byte* base, int64_t count, float* out) {
  for (int64_t offset = 0; offset < kHalf; offset += 2 * kLanes) {
    const auto step = [&](int64_t k, const VF(&w)[2]) __attribute__((always_inline)) HWY_ATTR {
      hn::Stream(w[0], F32(), out + k * 64 + offset);
      hn::Stream(w[1], F32(), out + k * 64 + offset + kLanes);
    };
    Format::template for_each<2>(base, offset, 0, count, step);
  }
}

void widen_half(PackedFormat format, const std::byte* base, int64_t count, float* out) {
  switch (format) {
    case PackedFormat::kQ4_0: return stream_half<Q4Format<false>>(base, count, out);
    case PackedFormat::kQ4_1: return stream_half<Q4Format<true>>(base, count, out);
    case PackedFormat::kQ8_0: return stream_half<Q80Format>(base, count, out);
    default: return stream_half<F16Format>(base, count, out);
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {
namespace {

HWY_EXPORT(widen_f16);
HWY_EXPORT(widen_bf16);
HWY_EXPORT(widen_quantised);
HWY_EXPORT(round_rows);
HWY_EXPORT(widen_half);

using internal::kBlock;
using internal::kHalf;

// k in [begin, begin + count) of column c of a half panel, in the checkpoint's own type; a quantised count is a multiple of 32.
void place_column(PackedFormat format, const std::byte* column, int64_t count, int64_t c, std::byte* half) {
  if (format == PackedFormat::kF16) {
    for (int64_t i = 0; i < count; ++i) std::memcpy(half + (i * kHalf + c) * 2, column + i * 2, 2);
    return;
  }
  const bool has_min = format == PackedFormat::kQ4_1;
  const int64_t head = has_min ? 4 : 2, lanes = format == PackedFormat::kQ8_0 ? 8 : 4, block = head + lanes * 4;
  for (int64_t b = 0; b < count / kBlock; ++b, half += kHalf * block, column += block) {
    std::memcpy(half + c * 2, column, 2);
    if (has_min) std::memcpy(half + internal::kQ41Mins + c * 2, column + 2, 2);
    for (int64_t g = 0; g < lanes; ++g) std::memcpy(half + kHalf * head + (g * kHalf + c) * 4, column + head + g * 4, 4);
  }
}

// Steps of k: what 32 columns of it take stays in the first-level cache.
constexpr int64_t kStep = 128;

template <class Fn>
void for_half_steps(PackedFormat stored, DType type, const std::byte* const columns[kPanelWidth], int64_t k, Fn&& fn) {
  for (int64_t h = 0; h < 2; ++h) {
    for (int64_t begin = 0; begin < k; begin += kStep) fn(h, begin, std::min(kStep, k - begin));
  }
}

void place_half(PackedFormat stored, DType type, const std::byte* const* columns, int64_t begin, int64_t count, std::byte* out) {
  for (int64_t c = 0; c < kHalf; ++c) {
    if (columns[c] != nullptr) place_column(stored, columns[c] + dtype_bytes(type, begin), count, c, out);
  }
}

// A column-major source of plain numbers, 64 columns by kTile of k at a time.
void pack_numbers(PackedFormat format, DType type, const std::byte* const columns[kPanelWidth], int64_t k, std::byte* panel) {
  constexpr int64_t kTile = 32, kStride = kTile + 1;
  float tile[kPanelWidth * kStride];
  std::fill(std::begin(tile), std::end(tile), 0.0f);
  const int64_t padded = internal::round_up(k, format == PackedFormat::kF32 ? 16 : 32);
  for (int64_t begin = 0; begin < padded; begin += kTile) {
    const int64_t count = std::min(kTile, k - begin), end = std::min(kTile, padded - begin);
    for (int64_t c = 0; c < kPanelWidth; ++c) {
      float* const to = tile + c * kStride;
      if (columns[c] != nullptr) widen(type, columns[c] + dtype_bytes(type, begin), count, to);
      std::fill(to + count, to + kTile, 0.0f);
    }
    if (format == PackedFormat::kF32) {
      float* out = reinterpret_cast<float*>(panel) + begin * 64;
      for (int64_t i = 0; i < end; ++i, out += 64) {
        for (int64_t c = 0; c < kPanelWidth; ++c) out[c] = tile[c * kStride + i];
      }
    } else {
      uint32_t* out = reinterpret_cast<uint32_t*>(panel) + begin / 2 * 64;
      for (int64_t i = 0; i < end; i += 2, out += 64) {
        for (int64_t c = 0; c < kPanelWidth; ++c) {
          const float* pair = tile + c * kStride + i;
          out[c] = internal::f32_to_bf16(pair[0]) | static_cast<uint32_t>(internal::f32_to_bf16(pair[1])) << 16;
        }
      }
    }
  }
}

}  // namespace

void widen(DType type, const std::byte* source, int64_t n, float* out) {
  switch (type) {
    case DType::kF32: std::memcpy(out, source, static_cast<size_t>(n) * sizeof(float)); return;
    case DType::kF64:
      for (int64_t i = 0; i < n; ++i) {
        double value;
        std::memcpy(&value, source + i * 8, sizeof value);
        out[i] = static_cast<float>(value);
      }
      return;
    case DType::kF16: return HWY_DYNAMIC_DISPATCH(widen_f16)(source, n, out);
    case DType::kBF16: return HWY_DYNAMIC_DISPATCH(widen_bf16)(source, n, out);
    case DType::kQ4_0:
    case DType::kQ4_1:
    case DType::kQ8_0: return HWY_DYNAMIC_DISPATCH(widen_quantised)(type, source, n, out);
    default: MT_CHECK(!"widen: not a weight type");
  }
}

void pack_panel(PackedFormat format, DType type, const std::byte* const columns[kPanelWidth], int64_t k, std::byte* panel) {
  const PackedFormat stored = native_format(type);
  const bool halves = stored != PackedFormat::kF32 && stored != PackedFormat::kBF16;
  if (format == stored && halves) {
    std::memset(panel, 0, static_cast<size_t>(packed_panel_bytes(format, k)));
    const int64_t half_bytes = packed_panel_bytes(format, k) / 2, step_bytes = packed_panel_bytes(format, kStep) / 2;
    for_half_steps(stored, type, columns, k, [&](int64_t h, int64_t begin, int64_t count) {
      place_half(stored, type, columns + h * kHalf, begin, count, panel + h * half_bytes + begin / kStep * step_bytes);
    });
    return;
  }
  MT_CHECK(format == PackedFormat::kF32 || format == PackedFormat::kBF16);
  if (format == PackedFormat::kBF16 || !halves) return pack_numbers(format, type, columns, k, panel);
  alignas(64) std::byte part[kStep * kHalf * 2];
  std::memset(part, 0, sizeof part);
  float* const out = reinterpret_cast<float*>(panel);
  for_half_steps(stored, type, columns, k, [&](int64_t h, int64_t begin, int64_t count) {
    if (begin == 0) std::memset(part, 0, sizeof part);
    place_half(stored, type, columns + h * kHalf, begin, count, part);
    HWY_DYNAMIC_DISPATCH(widen_half)(stored, part, count, out + begin * 64 + h * kHalf);
  });
  const int64_t padding = internal::round_up(k, 16) - k;
  std::memset(out + k * 64, 0, static_cast<size_t>(padding * 64) * sizeof(float));
}

namespace internal {

void round_to_bf16(const float* from, int64_t n, uint16_t* to) {
  parallel_for(n, 16384, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(round_rows)(from + begin, end - begin, to + begin);
  });
}

}  // namespace internal
}  // namespace microtome
#endif
