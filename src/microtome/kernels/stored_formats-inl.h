// How each packed format turns into vectors of f32: one struct per format with
//
//   for_each<V>(base, offset, begin, end, step)   calls step(k, w) for k in [begin, end), rising; w[V] are the values of
//                                                columns offset .. offset + V * lanes of the unit at `base`
//   kUnit                                        columns of a unit (64: a panel; 32: a half panel)
//
// begin is a multiple of 32. Included once per instruction set, between HWY_BEFORE_NAMESPACE and HWY_AFTER_NAMESPACE.
#if defined(MICROTOME_STORED_FORMATS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MICROTOME_STORED_FORMATS_INL_H_
#undef MICROTOME_STORED_FORMATS_INL_H_
#else
#define MICROTOME_STORED_FORMATS_INL_H_
#endif

#include "hwy/highway.h"
#include "microtome/kernels/packed_layout.h"

#define MT_UNROLL _Pragma("GCC unroll 16")

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using internal::kBlock;
using internal::kHalf;

using F32 = hn::ScalableTag<float>;
using U32 = hn::RebindToUnsigned<F32>;
using I32 = hn::RebindToSigned<F32>;
using VF = hn::Vec<F32>;
using VU = hn::Vec<U32>;
constexpr int64_t kLanes = HWY_LANES(float);

// Exact for every f16, subnormal and not finite ones included.
HWY_INLINE VF load_f16(const std::byte* from) {
  const F32 d;
#if HWY_TARGET <= HWY_AVX2
  const hn::Rebind<hwy::float16_t, F32> half;
  return hn::PromoteTo(d, hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(from)));
#else
  const U32 u;
  const hn::Rebind<uint16_t, F32> half;
  const VU bits = hn::PromoteTo(u, hn::LoadU(half, reinterpret_cast<const uint16_t*>(from)));
  const VU sign = hn::ShiftLeft<16>(hn::And(bits, hn::Set(u, 0x8000u)));
  const VU magnitude = hn::ShiftLeft<13>(hn::And(bits, hn::Set(u, 0x7fffu)));
  const VF scaled = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f));
  const auto special = hn::Ge(scaled, hn::Set(d, 65536.0f));
  const VF value = hn::IfThenElse(special, hn::BitCast(d, hn::Or(magnitude, hn::Set(u, 0x7f800000u))), scaled);
  return hn::Or(value, hn::BitCast(d, sign));
#endif
}

struct F32Format {
  static constexpr int64_t kUnit = 64;
  template <int V, class Step>
  static HWY_INLINE void for_each(const std::byte* base, int64_t offset, int64_t begin, int64_t end, Step&& step) {
    const F32 d;
    const float* from = reinterpret_cast<const float*>(base) + begin * 64 + offset;
    for (int64_t k = begin; k < end; ++k, from += 64) {
      VF w[V];
      MT_UNROLL for (int v = 0; v < V; ++v) w[v] = hn::Load(d, from + v * kLanes);
      step(k, w);
    }
  }
};

struct BF16Format {
  static constexpr int64_t kUnit = 64;
  template <int V, class Step>
  static HWY_INLINE void for_each(const std::byte* base, int64_t offset, int64_t begin, int64_t end, Step&& step) {
    const F32 d;
    const U32 u;
    const uint32_t* from = reinterpret_cast<const uint32_t*>(base) + begin / 2 * 64 + offset;
    for (int64_t k = begin; k < end; k += 2, from += 64) {
      VU pair[V];
      VF w[V];
      MT_UNROLL for (int v = 0; v < V; ++v) {
        pair[v] = hn::Load(u, from + v * kLanes);
        w[v] = hn::BitCast(d, hn::ShiftLeft<16>(pair[v]));
      }
      step(k, w);
      if (k + 1 == end) break;
      MT_UNROLL for (int v = 0; v < V; ++v) w[v] = hn::BitCast(d, hn::And(pair[v], hn::Set(u, 0xffff0000u)));
      step(k + 1, w);
    }
  }
};

struct F16Format {
  static constexpr int64_t kUnit = kHalf;
  template <int V, class Step>
  static HWY_INLINE void for_each(const std::byte* base, int64_t offset, int64_t begin, int64_t end, Step&& step) {
    const std::byte* from = base + (begin * kHalf + offset) * 2;
    for (int64_t k = begin; k < end; ++k, from += kHalf * 2) {
      VF w[V];
      MT_UNROLL for (int v = 0; v < V; ++v) w[v] = load_f16(from + v * kLanes * 2);
      step(k, w);
    }
  }
};

// nibble `kShift / 4` of each lane as the f32 q + kBias.
template <int kShift, int kBias>
HWY_INLINE VF nibble(VU lanes) {
  const F32 d;
  const U32 u;
  const VU shifted = hn::ShiftRight<kShift>(lanes);
#if HWY_TARGET == HWY_AVX3
  alignas(64) static constexpr float kTable[16] = {kBias,      kBias + 1,  kBias + 2,  kBias + 3, kBias + 4,  kBias + 5,
                                                   kBias + 6,  kBias + 7,  kBias + 8,  kBias + 9, kBias + 10, kBias + 11,
                                                   kBias + 12, kBias + 13, kBias + 14, kBias + 15};
  return VF{_mm512_permutexvar_ps(shifted.raw, hn::Load(d, kTable).raw)};  // reads the lowest four bits of each lane
#else
  const I32 i;
  const auto q = hn::BitCast(i, hn::And(shifted, hn::Set(u, 15u)));
  return hn::ConvertTo(d, kBias == 0 ? q : hn::Add(q, hn::Set(i, kBias)));
#endif
}

// w = d * q + m (m absent: d * q). Both products are exact, so fused and unfused sums agree.
template <bool kHasMin>
struct Q4Format {
  static constexpr int64_t kUnit = kHalf;
  static constexpr int64_t kBytes = kHasMin ? internal::kQ41Block : internal::kQ40Block;
  static constexpr int64_t kLanesAt = kHasMin ? internal::kQ41Lanes : internal::kQ40Lanes;

  template <int V, class Step>
  static HWY_INLINE void for_each(const std::byte* base, int64_t offset, int64_t begin, int64_t end, Step&& step) {
    const std::byte* block = base + begin / kBlock * kBytes;
    for (int64_t k = begin; k < end; k += kBlock, block += kBytes) {
      VF scale[V], min[V];
      MT_UNROLL for (int v = 0; v < V; ++v) {
        const int64_t at = (offset + v * kLanes) * 2;
        scale[v] = load_f16(block + at);
        if constexpr (kHasMin) min[v] = load_f16(block + internal::kQ41Mins + at);
      }
      const uint32_t* lanes = reinterpret_cast<const uint32_t*>(block + kLanesAt) + offset;
      for (int64_t g = 0; g < 4; ++g) group<V, 0>(lanes + g * kHalf, k + 4 * g, scale, min, step);
      for (int64_t g = 0; g < 4; ++g) group<V, 4>(lanes + g * kHalf, k + 16 + 4 * g, scale, min, step);
    }
  }

 private:
  template <int V, int kHigh, class Step>
  static HWY_INLINE void group(const uint32_t* from, int64_t k, const VF (&scale)[V], const VF (&min)[V], Step&& step) {
    const U32 u;
    VU lanes[V];
    MT_UNROLL for (int v = 0; v < V; ++v) lanes[v] = hn::Load(u, from + v * kLanes);
    one<V, kHigh + 0>(lanes, k + 0, scale, min, step);
    one<V, kHigh + 8>(lanes, k + 1, scale, min, step);
    one<V, kHigh + 16>(lanes, k + 2, scale, min, step);
    one<V, kHigh + 24>(lanes, k + 3, scale, min, step);
  }

  template <int V, int kShift, class Step>
  static HWY_INLINE void one(const VU (&lanes)[V], int64_t k, const VF (&scale)[V], const VF (&min)[V], Step&& step) {
    VF w[V];
    MT_UNROLL for (int v = 0; v < V; ++v) {
      if constexpr (kHasMin) {
        w[v] = hn::MulAdd(scale[v], nibble<kShift, 0>(lanes[v]), min[v]);
      } else {
        w[v] = hn::Mul(scale[v], nibble<kShift, -8>(lanes[v]));
      }
    }
    step(k, w);
  }
};

struct Q80Format {
  static constexpr int64_t kUnit = kHalf;

  template <int V, class Step>
  static HWY_INLINE void for_each(const std::byte* base, int64_t offset, int64_t begin, int64_t end, Step&& step) {
    const I32 i;
    const std::byte* block = base + begin / kBlock * internal::kQ80Block;
    for (int64_t k = begin; k < end; k += kBlock, block += internal::kQ80Block) {
      VF scale[V];
      MT_UNROLL for (int v = 0; v < V; ++v) { scale[v] = load_f16(block + (offset + v * kLanes) * 2); }
      const int32_t* from = reinterpret_cast<const int32_t*>(block + internal::kQ80Lanes) + offset;
      for (int64_t g = 0; g < 8; ++g, from += kHalf) {
        hn::Vec<I32> lanes[V];
        MT_UNROLL for (int v = 0; v < V; ++v) lanes[v] = hn::Load(i, from + v * kLanes);
        one<V, 24>(lanes, k + 4 * g, scale, step);
        one<V, 16>(lanes, k + 4 * g + 1, scale, step);
        one<V, 8>(lanes, k + 4 * g + 2, scale, step);
        one<V, 0>(lanes, k + 4 * g + 3, scale, step);
      }
    }
  }

 private:
  template <int V, int kLeft, class Step>
  static HWY_INLINE void one(const hn::Vec<I32> (&lanes)[V], int64_t k, const VF (&scale)[V], Step&& step) {
    VF w[V];
    MT_UNROLL for (int v = 0; v < V; ++v) {
      w[v] = hn::Mul(scale[v], hn::ConvertTo(F32(), hn::ShiftRight<24>(hn::ShiftLeft<kLeft>(lanes[v]))));
    }
    step(k, w);
  }
};

// Calls fn(Format{}) for the struct of `format`.
template <class Fn>
HWY_INLINE void with_format(PackedFormat format, Fn&& fn) {
  switch (format) {
    case PackedFormat::kF32: return fn(F32Format());
    case PackedFormat::kBF16: return fn(BF16Format());
    case PackedFormat::kF16: return fn(F16Format());
    case PackedFormat::kQ4_0: return fn(Q4Format<false>());
    case PackedFormat::kQ4_1: return fn(Q4Format<true>());
    case PackedFormat::kQ8_0: return fn(Q80Format());
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
