// Seeded matrices in every stored type, and the reference product, for the tests of kernels/.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "microtome/kernels/gemm.h"
#include "microtome/kernels/packed_matrix.h"

namespace microtome::test {

struct FreeDeleter {
  void operator()(std::byte* p) const { std::free(p); }
};

struct AlignedBytes {
  explicit AlignedBytes(int64_t n)
      : size(n), data(static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>(n + 127) / 64 * 64))) {}
  int64_t size;
  std::unique_ptr<std::byte, FreeDeleter> data;
};

inline std::vector<float> random_floats(int64_t n, uint32_t seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(generator);
  return values;
}

// Bytes of `n` values in `type`: random, with f16 scales of ordinary size.
inline std::vector<std::byte> random_stored(DType type, int64_t n, uint32_t seed) {
  std::mt19937 generator(seed);
  std::vector<std::byte> bytes(static_cast<size_t>(dtype_bytes(type, n)));
  if (type == DType::kF32 || type == DType::kF64) {
    const std::vector<float> values = random_floats(n, seed);
    if (type == DType::kF32) std::memcpy(bytes.data(), values.data(), bytes.size());
    const std::vector<double> wide(values.begin(), values.end());
    if (type == DType::kF64) std::memcpy(bytes.data(), wide.data(), bytes.size());
    return bytes;
  }
  for (std::byte& b : bytes) b = static_cast<std::byte>(generator());
  const auto ordinary = [&](size_t at, uint32_t low, uint32_t mask) {  // a positive or negative half between 2^-9 and 2^-1 or so
    const auto bits = static_cast<uint16_t>(low + generator() % mask + (generator() % 2) * 0x8000u);
    std::memcpy(bytes.data() + at, &bits, 2);
  };
  const size_t block = static_cast<size_t>(dtype_block_bytes(type));
  for (size_t at = 0; at < bytes.size(); at += block) {
    if (type == DType::kBF16) ordinary(at, 0x3c00u, 0x0400u);
    else ordinary(at, 0x1c00u, 0x1c00u);
    if (type == DType::kQ4_1) ordinary(at + 2, 0x1c00u, 0x1c00u);
  }
  return bytes;
}

// A weight matrix [k, n]: its checkpoint bytes (column after column), its widened values and both packings.
struct Weights {
  Weights(DType type, int64_t k, int64_t n, uint32_t seed) : type(type), k(k), n(n), stored(random_stored(type, k * n, seed)) {
    widened.resize(static_cast<size_t>(k * n));
    widen(type, stored.data(), k * n, widened.data());
  }

  AlignedBytes pack(PackedFormat format) const {
    AlignedBytes packed(packed_bytes(format, k, n));
    for (int64_t panel = 0; panel * kPanelWidth < n; ++panel) {
      const std::byte* columns[kPanelWidth] = {};
      for (int64_t c = 0; c < kPanelWidth && panel * kPanelWidth + c < n; ++c) {
        columns[c] = stored.data() + dtype_bytes(type, (panel * kPanelWidth + c) * k);
      }
      pack_panel(format, type, columns, k, packed.data.get() + panel * packed_panel_bytes(format, k));
    }
    return packed;
  }

  float value(int64_t row, int64_t column) const { return widened[static_cast<size_t>(column * k + row)]; }

  DType type;
  int64_t k, n;
  std::vector<std::byte> stored;
  std::vector<float> widened;  // [n, k]
};

inline PackedView view(const AlignedBytes& packed, PackedFormat format, int64_t k, int64_t n) {
  return PackedView{format, k, n, packed.data.get()};
}

// C [m, n] = A [m, k] · B [k, n], plain loops in T.
template <class T>
std::vector<T> reference_product(const float* a, const float* b, int64_t m, int64_t k, int64_t n, int64_t stride_k,
                                 int64_t stride_n) {
  std::vector<T> c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      T sum = 0;
      for (int64_t x = 0; x < k; ++x) sum += static_cast<T>(a[i * k + x]) * static_cast<T>(b[x * stride_k + j * stride_n]);
      c[static_cast<size_t>(i * n + j)] = sum;
    }
  }
  return c;
}

// What rounding may cost: a few units in the last place per root of k, relative to the sum of magnitudes.
inline double tolerance(const float* a, const float* b, int64_t k, int64_t stride_k, double unit = 6e-8) {
  double magnitude = 0;
  for (int64_t x = 0; x < k; ++x) magnitude += std::abs(static_cast<double>(a[x]) * b[x * stride_k]);
  return unit * (2 + std::sqrt(static_cast<double>(k))) * magnitude + 1e-30;
}

}  // namespace microtome::test
