#include "microtome/kernels/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/rope.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/base/threads.h"
#include "microtome/kernels/row_pieces.h"
#include "microtome/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

struct Turned {
  VF a, b;
};

HWY_INLINE Turned turn(VF a, VF b, VF cos, VF sin) {
  return {hn::NegMulAdd(b, sin, hn::Mul(a, cos)), hn::MulAdd(a, sin, hn::Mul(b, cos))};
}

// One head: pairs (i, i + half).
HWY_INLINE void rope_split(int64_t half, const float* x, const float* cos, const float* sin, VF sign, float* y) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const Turned t =
        turn(hn::LoadU(d, x + i), hn::LoadU(d, x + i + half), hn::LoadU(d, cos + i), hn::Mul(sign, hn::LoadU(d, sin + i)));
    hn::StoreU(t.a, d, y + i);
    hn::StoreU(t.b, d, y + i + half);
  }
  if (const int64_t n = half - i; n > 0) {
    const Turned t = turn(load_first(x + i, n, 0), load_first(x + i + half, n, 0), load_first(cos + i, n, 0),
                          hn::Mul(sign, load_first(sin + i, n, 0)));
    store_first(t.a, y + i, n);
    store_first(t.b, y + i + half, n);
  }
}

// One head: pairs (2 i, 2 i + 1).
HWY_INLINE void rope_adjacent(int64_t half, const float* x, const float* cos, const float* sin, VF sign, float* y) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    VF a, b;
    hn::LoadInterleaved2(d, x + 2 * i, a, b);
    const Turned t = turn(a, b, hn::LoadU(d, cos + i), hn::Mul(sign, hn::LoadU(d, sin + i)));
    hn::StoreInterleaved2(t.a, t.b, d, y + 2 * i);
  }
  if (const int64_t n = half - i; n > 0) {
    HWY_ALIGN float pairs[2 * kLanes] = {};
    for (int64_t k = 0; k < 2 * n; ++k) pairs[k] = x[2 * i + k];
    VF a, b;
    hn::LoadInterleaved2(d, pairs, a, b);
    const Turned t = turn(a, b, load_first(cos + i, n, 0), hn::Mul(sign, load_first(sin + i, n, 0)));
    hn::StoreInterleaved2(t.a, t.b, d, pairs);
    for (int64_t k = 0; k < 2 * n; ++k) y[2 * i + k] = pairs[k];
  }
}

void rope_rows(const RopeShape& s, const float* x, const int32_t* positions, const float* cos, const float* sin, float* y,
               int64_t begin, int64_t end) {
  const VF sign = hn::Set(F32(), s.inverse ? -1.0f : 1.0f);
  const int64_t half = s.rotary / 2;
  for (int64_t r = begin; r < end; ++r) {
    const int64_t table = positions[r] * half;
    for (int64_t h = 0; h < s.heads; ++h) {
      const int64_t at = (r * s.heads + h) * s.d;
      if (s.adjacent) {
        rope_adjacent(half, x + at, cos + table, sin + table, sign, y + at);
      } else {
        rope_split(half, x + at, cos + table, sin + table, sign, y + at);
      }
      if (x != y && 2 * half < s.d) std::memcpy(y + at + 2 * half, x + at + 2 * half, static_cast<size_t>(s.d - 2 * half) * 4);
    }
  }
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {

HWY_EXPORT(rope_rows);

void rope(const RopeShape& s, const float* x, const int32_t* positions, const float* cos, const float* sin, float* y) {
  parallel_for(s.rows, internal::piece_rows(s.heads * s.d), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(rope_rows)(s, x, positions, cos, sin, y, begin, end);
  });
}

}  // namespace microtome
#endif
