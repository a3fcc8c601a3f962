#include "microtome/kernels/gemm.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "microtome/base/error.h"
#include "microtome/kernels/gemm_bf16.h"
#include "microtome/kernels/gemm_onednn.h"
#include "microtome/kernels/isa.h"
#include "microtome/kernels/packed_layout.h"
#include "microtome/kernels/scratch.h"

namespace microtome {
namespace {

GemmImplementation from_environment() {
  const char* text = std::getenv("MICROTOME_GEMM");
  if (text != nullptr && std::strcmp(text, "highway") == 0) return GemmImplementation::kHighway;
  if (text != nullptr && std::strcmp(text, "naive") == 0) return GemmImplementation::kNaive;
  if (text != nullptr && *text != '\0' && std::strcmp(text, "onednn") != 0) {
    std::fprintf(stderr, "MICROTOME_GEMM: \"%.40s\" is not one of onednn, highway, naive; using onednn\n", text);
  }
  return GemmImplementation::kOneDnn;
}

GemmImplementation g_implementation = from_environment();

// oneDNN sums as our own kernels do on AVX3 only.
bool onednn_allowed() { return g_implementation == GemmImplementation::kOneDnn && current_isa() == "AVX3"; }

// Rows that oneDNN takes, then the rest: fn(row, rows).
template <class Fn>
void rows_left_by_onednn(const void* a, size_t element, int64_t m, const PackedView& b, float* c, Fn&& fn) {
  int64_t row = 0;
  while (m - row >= internal::kOneDnnMinRows && onednn_allowed()) {
    const auto* from = static_cast<const std::byte*>(a) + static_cast<size_t>(row * b.k) * element;
    const int64_t done = internal::gemm_onednn(from, m - row, b, c + row * b.n);
    if (done == 0) break;
    row += done;
  }
  if (row < m) fn(row, m - row);
}

// Rows that are rounded at a time: bounds the scratch.
constexpr int64_t kRoundedRows = 512;

void gemm_bf16(const float* a, int64_t m, const PackedView& b, float* c) {
  using internal::ScratchUse;
  const int64_t values = m * b.k;
  auto* const rounded = internal::scratch<uint16_t>(ScratchUse::kRoundedRows, values);
  internal::round_to_bf16(a, values, rounded);
  if (g_implementation != GemmImplementation::kNaive && internal::bf16_products_supported()) {
    return rows_left_by_onednn(rounded, 2, m, b, c, [&](int64_t row, int64_t rows) {
      internal::gemm_bf16_rows(rounded + row * b.k, rows, b, c + row * b.n);
    });
  }
  auto* const widened = internal::scratch<float>(ScratchUse::kWidenedRows, values);
  widen(DType::kBF16, reinterpret_cast<const std::byte*>(rounded), values, widened);
  if (g_implementation == GemmImplementation::kNaive) return internal::gemm_naive(widened, m, b, c);
  internal::gemm_highway(widened, m, b, c);
}

}  // namespace

void gemm(const float* a, int64_t m, const PackedView& b, float* c, Compute compute) {
  MT_CHECK(compute == Compute::kF32 || b.format == PackedFormat::kBF16);
  if (compute == Compute::kBF16) {
    for (int64_t row = 0; row < m; row += kRoundedRows) {
      gemm_bf16(a + row * b.k, std::min(kRoundedRows, m - row), b, c + row * b.n);
    }
    return;
  }
  if (g_implementation == GemmImplementation::kNaive) return internal::gemm_naive(a, m, b, c);
  if (b.format != PackedFormat::kF32) return internal::gemm_highway(a, m, b, c);
  rows_left_by_onednn(a, 4, m, b, c,
                      [&](int64_t row, int64_t rows) { internal::gemm_highway(a + row * b.k, rows, b, c + row * b.n); });
}

void gemm_plain(const float* a, const float* b, float* c, int64_t m, int64_t k, int64_t n) {
  if (g_implementation != GemmImplementation::kNaive) return internal::gemm_plain_highway(a, b, c, m, k, n);
  std::vector<float> packed(static_cast<size_t>(packed_bytes(PackedFormat::kF32, k, n)) / sizeof(float));
  auto* data = reinterpret_cast<std::byte*>(packed.data());
  pack_plain(PackedFormat::kF32, b, k, n, n, 1, data);
  internal::gemm_naive(a, m, PackedView{PackedFormat::kF32, k, n, data}, c);
}

GemmImplementation gemm_implementation() { return g_implementation; }
void set_gemm_implementation(GemmImplementation implementation) { g_implementation = implementation; }

const char* gemm_description() {
  static std::string text;
  if (g_implementation == GemmImplementation::kNaive) return "naive";
  const std::string own = "highway " + current_isa();
  const auto name = [&](PackedFormat format) {
    const char* implementation = onednn_allowed() ? internal::onednn_implementation(format) : "";
    return *implementation == '\0' ? own : std::string("onednn ") + implementation + " (64 rows and more), " + own;
  };
  text = "f32: " + name(PackedFormat::kF32) + "; bf16: ";
  text += internal::bf16_products_supported() ? name(PackedFormat::kBF16) + " and avx512_bf16" : "widened to f32, " + own;
  return text.c_str();
}

}  // namespace microtome
