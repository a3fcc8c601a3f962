// The one file of AVX512-BF16 intrinsics: Highway's AVX3 target does not reach VDPBF16PS. Sums run over pairs of k, in
// chunks as everywhere; the instruction itself treats subnormals as zeros and rounds to nearest even, whatever MXCSR says.
#include "microtome/kernels/gemm_bf16.h"

#include <algorithm>
#include <cstring>

#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"
#include "microtome/kernels/packed_layout.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace microtome::internal {

#if defined(__x86_64__)
namespace {

#define MT_BF16_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))

constexpr int64_t kRows = 6, kVectors = 4, kSlab = 240;

struct Tile {
  const uint16_t* a;
  int64_t lda;
  const uint32_t* panel;  // [k / 2][64] pairs
  int64_t begin, end;     // k
  float* c;
  int64_t ldc;
  bool add;
};

// A pair of a row's values; beyond the row's end zeros.
inline int load_pair(const uint16_t* at, bool both) {
  uint32_t pair = *at;
  if (both) std::memcpy(&pair, at, sizeof pair);
  return static_cast<int>(pair);
}

template <int R>
MT_BF16_TARGET void run_tile(const Tile& t) {
  __m512 sum[R][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_setzero_ps();
  }
  const uint32_t* from = t.panel + t.begin / 2 * 64;
  const int64_t pairs = (t.end - t.begin) / 2, odd = (t.end - t.begin) % 2;
  for (int64_t p = 0; p < pairs + odd; ++p, from += 64) {
    __m512bh w[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) w[v] = __builtin_bit_cast(__m512bh, _mm512_load_si512(from + v * 16));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto x = __builtin_bit_cast(__m512bh, _mm512_set1_epi32(load_pair(t.a + r * t.lda + t.begin + 2 * p, p < pairs)));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], x, w[v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      float* to = t.c + r * t.ldc + v * 16;
      _mm512_storeu_ps(to, t.add ? _mm512_add_ps(_mm512_loadu_ps(to), sum[r][v]) : sum[r][v]);
    }
  }
}

void run_rows(int64_t rows, const Tile& t) {
  switch (rows) {
    case 1: return run_tile<1>(t);
    case 2: return run_tile<2>(t);
    case 3: return run_tile<3>(t);
    case 4: return run_tile<4>(t);
    case 5: return run_tile<5>(t);
    default: return run_tile<6>(t);
  }
}

// Rows of one panel; C has room for `columns` of it.
void run_panel(const uint16_t* a, int64_t m, const uint32_t* panel, int64_t k, int64_t columns, float* c, int64_t ldc) {
  alignas(64) float edge[kRows * 64];
  const bool whole = columns == 64;
  const int64_t chunk = sum_chunk(k);
  for (int64_t begin = 0; begin < k; begin += chunk) {
    const int64_t tiles = (m + kRows - 1) / kRows;
    for (int64_t i = 0, row = 0; i < tiles; ++i) {
      const int64_t rows = (m - row) / (tiles - i);
      float* const to = c + row * ldc;
      const size_t bytes = static_cast<size_t>(columns) * sizeof(float);
      Tile t{a + row * k, k, panel, begin, std::min(k, begin + chunk), whole ? to : edge, whole ? ldc : 64, begin > 0};
      for (int64_t r = 0; r < rows && !whole && t.add; ++r) std::memcpy(edge + r * 64, to + r * ldc, bytes);
      run_rows(rows, t);
      for (int64_t r = 0; r < rows && !whole; ++r) std::memcpy(to + r * ldc, edge + r * 64, bytes);
      row += rows;
    }
  }
}

}  // namespace

bool bf16_products_supported() {
  static const bool has = __builtin_cpu_supports("avx512bf16") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  return has && current_isa() == "AVX3";
}

void gemm_bf16_rows(const uint16_t* a, int64_t m, const PackedView& b, float* c) {
  const int64_t slabs = (m + kSlab - 1) / kSlab, panel_bytes = packed_panel_bytes(PackedFormat::kBF16, b.k);
  parallel_for(panel_count(b.n) * slabs, 1, [&](int64_t piece, int64_t) {
    const int64_t panel = piece / slabs, row = piece % slabs * kSlab;
    run_panel(a + row * b.k, std::min(kSlab, m - row), reinterpret_cast<const uint32_t*>(b.data + panel * panel_bytes), b.k,
              std::min<int64_t>(64, b.n - panel * 64), c + row * b.n + panel * 64, b.n);
  });
}

MT_BF16_TARGET double bf16_chains(int64_t steps) {
  constexpr int kChains = 16;
  __m512 sum[kChains];
#pragma GCC unroll 16
  for (int i = 0; i < kChains; ++i) sum[i] = _mm512_set1_ps(static_cast<float>(i));  // equal chains would become one
  const auto x = __builtin_bit_cast(__m512bh, _mm512_set1_epi32(0x3f803f80));
  for (int64_t step = 0; step < steps; ++step) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sum[i] = _mm512_dpbf16_ps(sum[i], x, x);
  }
  __m512 total = sum[0];
#pragma GCC unroll 16
  for (int i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sum[i]);
  volatile float sink = _mm512_cvtss_f32(total);
  static_cast<void>(sink);
  return 4.0 * kChains * 16 * static_cast<double>(steps);
}

#else

bool bf16_products_supported() { return false; }
void gemm_bf16_rows(const uint16_t*, int64_t, const PackedView&, float*) {}
double bf16_chains(int64_t) { return 0; }

#endif

}  // namespace microtome::internal
