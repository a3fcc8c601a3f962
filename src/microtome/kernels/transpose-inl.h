// Columns out of rows that lie anywhere: lane i of a column comes from row i. Included once per instruction set.
#if defined(MICROTOME_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MICROTOME_TRANSPOSE_INL_H_
#undef MICROTOME_TRANSPOSE_INL_H_
#else
#define MICROTOME_TRANSPOSE_INL_H_
#endif

#include "microtome/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

struct Columns4 {
  VF c0, c1, c2, c3;
};

// 128-bit block b holds rows[4 b + r][c .. c + 4).
HWY_INLINE VF load_row_blocks(const float* const* rows, int64_t r, int64_t c) {
#if HWY_TARGET == HWY_AVX3
  const hn::Half<F32> half;
  const hn::Half<hn::Half<F32>> quarter;
  const auto low = hn::Combine(half, hn::LoadU(quarter, rows[r + 4] + c), hn::LoadU(quarter, rows[r] + c));
  const auto high = hn::Combine(half, hn::LoadU(quarter, rows[r + 12] + c), hn::LoadU(quarter, rows[r + 8] + c));
  return hn::Combine(F32(), high, low);
#elif HWY_TARGET == HWY_AVX2
  const hn::Half<F32> half;
  return hn::Combine(F32(), hn::LoadU(half, rows[r + 4] + c), hn::LoadU(half, rows[r] + c));
#else
  return hn::LoadU(F32(), rows[r] + c);
#endif
}

// Columns c .. c + 3 of kLanes rows.
HWY_INLINE Columns4 load_columns(const float* const* rows, int64_t c) {
  const F32 d;
#if HWY_TARGET == HWY_SCALAR
  const float* row = rows[0] + c;
  return {hn::Set(d, row[0]), hn::Set(d, row[1]), hn::Set(d, row[2]), hn::Set(d, row[3])};
#else
  const hn::RepartitionToWide<F32> pairs;
  const VF r0 = load_row_blocks(rows, 0, c), r1 = load_row_blocks(rows, 1, c);
  const VF r2 = load_row_blocks(rows, 2, c), r3 = load_row_blocks(rows, 3, c);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1)),
             high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3)),
             high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  return {hn::BitCast(d, hn::InterleaveLower(pairs, low01, low23)), hn::BitCast(d, hn::InterleaveUpper(pairs, low01, low23)),
          hn::BitCast(d, hn::InterleaveLower(pairs, high01, high23)), hn::BitCast(d, hn::InterleaveUpper(pairs, high01, high23))};
#endif
}

HWY_INLINE VF load_column(const float* const* rows, int64_t c) {
  HWY_ALIGN float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = rows[i][c];
  return hn::Load(F32(), lanes);
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MICROTOME_TRANSPOSE_INL_H_
