#include <gtest/gtest.h>

#include <limits>

#include "gemm_test_data.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"

namespace microtome {
namespace {

using test::AlignedBytes;
using test::random_floats;
using test::view;
using test::Weights;

constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0};

// Leaves the process as it was: best instruction set, oneDNN, default threads.
class GemmTest : public ::testing::Test {
 protected:
  void TearDown() override {
    set_isa("");
    set_gemm_implementation(GemmImplementation::kOneDnn);
    set_num_threads(0);
  }
};

std::vector<float> product(const std::vector<float>& a, int64_t m, const PackedView& b, Compute compute = Compute::kF32) {
  std::vector<float> c(static_cast<size_t>(m * b.n), std::numeric_limits<float>::quiet_NaN());
  gemm(a.data(), m, b, c.data(), compute);
  return c;
}

::testing::AssertionResult same_bits(const float* a, const float* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    if (std::memcmp(a + i, b + i, sizeof(float)) != 0) {
      return ::testing::AssertionFailure() << "element " << i << " of " << n << ": " << a[i] << " against " << b[i];
    }
  }
  return ::testing::AssertionSuccess();
}

::testing::AssertionResult same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return ::testing::AssertionFailure() << a.size() << " against " << b.size() << " elements";
  return same_bits(a.data(), b.data(), static_cast<int64_t>(a.size()));
}

struct Shape {
  int64_t m, k, n;
};
constexpr Shape kOddShapes[] = {{1, 1, 1},    {2, 17, 63},   {3, 33, 65},    {7, 64, 130},  {9, 100, 64},
                                {17, 96, 31}, {65, 513, 70}, {20, 1025, 96}, {5, 1500, 33}, {130, 576, 192}};

TEST_F(GemmTest, matches_the_double_reference_on_every_isa_and_odd_shape) {
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    for (const Shape& s : kOddShapes) {
      const std::vector<float> a = random_floats(s.m * s.k, 1), b = random_floats(s.k * s.n, 2);
      AlignedBytes packed(packed_bytes(PackedFormat::kF32, s.k, s.n));
      pack_plain(PackedFormat::kF32, b.data(), s.k, s.n, s.n, 1, packed.data.get());
      const auto want = test::reference_product<double>(a.data(), b.data(), s.m, s.k, s.n, s.n, 1);
      const std::vector<float> got = product(a, s.m, view(packed, PackedFormat::kF32, s.k, s.n));
      std::vector<float> plain(want.size());
      gemm_plain(a.data(), b.data(), plain.data(), s.m, s.k, s.n);
      for (int64_t i = 0; i < s.m * s.n; ++i) {
        const auto at = static_cast<size_t>(i);
        const double allowed = test::tolerance(a.data() + i / s.n * s.k, b.data() + i % s.n, s.k, s.n);
        ASSERT_NEAR(got[at], want[at], allowed) << isa << " " << s.m << "x" << s.k << "x" << s.n << " element " << i;
      }
      ASSERT_TRUE(same_bits(plain, got)) << isa << " plain " << s.m << "x" << s.k << "x" << s.n;
    }
  }
}

TEST_F(GemmTest, fused_multiply_add_isas_match_the_naive_loops_bit_for_bit) {
  for (const std::string& isa : supported_isas()) {
    if (isa != "AVX3" && isa != "AVX2") continue;
    ASSERT_TRUE(set_isa(isa));
    for (const int64_t k : {64, 192, 512, 576, 768, 1000, 1024, 1536, 2048, 3072}) {
      const Weights w(DType::kF32, k, 70, 3);
      const AlignedBytes packed = w.pack(PackedFormat::kF32);
      const std::vector<float> a = random_floats(3 * k, 4);
      set_gemm_implementation(GemmImplementation::kNaive);
      const std::vector<float> want = product(a, 3, view(packed, PackedFormat::kF32, k, 70));
      set_gemm_implementation(GemmImplementation::kHighway);
      ASSERT_TRUE(same_bits(product(a, 3, view(packed, PackedFormat::kF32, k, 70)), want)) << isa << " k " << k;
    }
  }
}

TEST_F(GemmTest, onednn_and_own_kernels_agree_bit_for_bit) {
  for (const int64_t k : {1, 17, 64, 192, 511, 512, 513, 576, 768, 1000, 1024, 1025, 1536, 2048, 3072, 4096, 4100}) {
    for (const int64_t n : {1, 63, 130}) {
      const Weights w(DType::kF32, k, n, 5);
      for (const PackedFormat format : {PackedFormat::kF32, PackedFormat::kBF16}) {
        const Compute compute = format == PackedFormat::kBF16 ? Compute::kBF16 : Compute::kF32;
        const AlignedBytes packed = w.pack(format);
        for (const int64_t m : {64, 200}) {
          const std::vector<float> a = random_floats(m * k, 6);
          set_gemm_implementation(GemmImplementation::kOneDnn);
          const std::vector<float> onednn = product(a, m, view(packed, format, k, n), compute);
          set_gemm_implementation(GemmImplementation::kHighway);
          ASSERT_TRUE(same_bits(product(a, m, view(packed, format, k, n), compute), onednn))
              << packed_format_name(format) << " " << m << "x" << k << "x" << n;
        }
      }
    }
  }
}

TEST_F(GemmTest, a_row_has_the_same_bits_among_any_number_of_rows_on_every_isa) {
  constexpr int64_t kK = 1056, kN = 70, kMaxRows = 512;
  const std::vector<float> a = random_floats(kMaxRows * kK, 7);
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    for (const DType type : kTypes) {
      const PackedFormat format = native_format(type);
      const Weights w(type, kK, kN, 8);
      const AlignedBytes packed = w.pack(format);
      for (const Compute compute : {Compute::kF32, Compute::kBF16}) {
        if (compute == Compute::kBF16 && format != PackedFormat::kBF16) continue;
        const PackedView b = view(packed, format, kK, kN);
        const int64_t most = isa == supported_isas().front() ? kMaxRows : isa == "SCALAR" ? 31 : 129;
        std::vector<float> alone(static_cast<size_t>(most * kN));
        set_num_threads(1);
        for (int64_t r = 0; r < most; ++r) gemm(a.data() + r * kK, 1, b, alone.data() + r * kN, compute);
        set_num_threads(0);
        for (const int64_t m : {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 64, 129, 300, 512}) {
          if (m > most) continue;
          const std::vector<float> together = product(a, m, b, compute);
          ASSERT_TRUE(same_bits(together.data(), alone.data(), m * kN))
              << isa << " " << packed_format_name(format) << " rows " << m;
        }
      }
    }
  }
}

TEST_F(GemmTest, the_number_of_threads_changes_no_bit) {
  for (const DType type : kTypes) {
    const PackedFormat format = native_format(type);
    const Weights w(type, 576, 200, 9);
    const AlignedBytes packed = w.pack(format);
    for (const int64_t m : {1, 8, 33, 200}) {
      const std::vector<float> a = random_floats(m * 576, 10);
      set_num_threads(1);
      const std::vector<float> one = product(a, m, view(packed, format, 576, 200));
      for (const int threads : {2, 3}) {
        set_num_threads(threads);
        ASSERT_TRUE(same_bits(product(a, m, view(packed, format, 576, 200)), one)) << packed_format_name(format) << " " << m;
      }
    }
  }
}

TEST_F(GemmTest, inside_a_parallel_loop_the_bits_are_the_same) {
  const Weights w(DType::kF32, 576, 192, 11);
  const AlignedBytes packed = w.pack(PackedFormat::kF32);
  const std::vector<float> a = random_floats(128 * 576, 12);
  set_num_threads(2);
  const std::vector<float> outside = product(a, 128, view(packed, PackedFormat::kF32, 576, 192));
  std::vector<std::vector<float>> inside(4);
  parallel_for(4, 1, [&](int64_t i, int64_t) {
    inside[static_cast<size_t>(i)] = product(a, 128, view(packed, PackedFormat::kF32, 576, 192));
  });
  for (const auto& result : inside) EXPECT_TRUE(same_bits(result, outside));
}

TEST_F(GemmTest, stored_formats_give_the_bits_of_their_widened_matrix_on_every_isa) {
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    for (const DType type : kTypes) {
      for (const int64_t k : {32, 576, 1056}) {
        const Weights w(type, k, 100, 13);
        const AlignedBytes native = w.pack(native_format(type)), wide = w.pack(PackedFormat::kF32);
        for (const int64_t m : {1, 2, 5, 8, 12, 40, 70}) {
          const std::vector<float> a = random_floats(m * k, 14);
          ASSERT_TRUE(same_bits(product(a, m, view(native, native_format(type), k, 100)),
                                product(a, m, view(wide, PackedFormat::kF32, k, 100))))
              << isa << " " << dtype_name(type) << " " << m << "x" << k;
        }
      }
    }
  }
}

TEST_F(GemmTest, bf16_compute_rounds_both_sides_and_sums_in_f32) {
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    for (const Shape& s : kOddShapes) {
      const Weights w(DType::kF32, s.k, s.n, 15);
      const AlignedBytes packed = w.pack(PackedFormat::kBF16);
      std::vector<float> b(w.widened.size()), a = random_floats(s.m * s.k, 16);
      unpack(view(packed, PackedFormat::kBF16, s.k, s.n), 0, s.n, s.n, 1, b.data());
      const std::vector<float> got = product(a, s.m, view(packed, PackedFormat::kBF16, s.k, s.n), Compute::kBF16);
      for (float& x : a) x = std::nearbyint(std::ldexp(x, 7 - std::ilogb(x))) * std::ldexp(1.0f, std::ilogb(x) - 7);
      const auto want = test::reference_product<double>(a.data(), b.data(), s.m, s.k, s.n, s.n, 1);
      for (int64_t i = 0; i < s.m * s.n; ++i) {
        const double allowed = test::tolerance(a.data() + i / s.n * s.k, b.data() + i % s.n, s.k, s.n);
        ASSERT_NEAR(got[static_cast<size_t>(i)], want[static_cast<size_t>(i)], allowed) << isa << " element " << i;
      }
    }
  }
}

TEST_F(GemmTest, infinities_nans_and_subnormals_reach_their_own_rows_only) {
  constexpr int64_t kK = 64, kN = 66;
  const Weights w(DType::kF32, kK, kN, 17);
  const AlignedBytes packed = w.pack(PackedFormat::kF32);
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    for (const int64_t m : {4, 64}) {
      std::vector<float> a = random_floats(m * kK, 18);
      const std::vector<float> before = product(a, m, view(packed, PackedFormat::kF32, kK, kN));
      a[5] = std::numeric_limits<float>::infinity();
      a[kK + 5] = std::numeric_limits<float>::quiet_NaN();
      for (int64_t k = 0; k < kK; ++k) a[static_cast<size_t>(2 * kK + k)] = k == 0 ? 1e-41f : 0;
      const std::vector<float> after = product(a, m, view(packed, PackedFormat::kF32, kK, kN));
      for (int64_t c = 0; c < kN; ++c) {
        EXPECT_TRUE(std::isinf(after[static_cast<size_t>(c)])) << isa << " column " << c;
        EXPECT_TRUE(std::isnan(after[static_cast<size_t>(kN + c)])) << isa << " column " << c;
        EXPECT_EQ(after[static_cast<size_t>(2 * kN + c)], 1e-41f * w.value(0, c)) << isa << " column " << c;
      }
      EXPECT_TRUE(same_bits(after.data() + 3 * kN, before.data() + 3 * kN, (m - 3) * kN)) << isa;
    }
  }
}

TEST_F(GemmTest, description_names_what_runs) {
  set_gemm_implementation(GemmImplementation::kNaive);
  EXPECT_STREQ(gemm_description(), "naive");
  set_gemm_implementation(GemmImplementation::kOneDnn);
  EXPECT_NE(std::string(gemm_description()).find(current_isa()), std::string::npos);
  if (current_isa() == "AVX3") {
    EXPECT_NE(std::string(gemm_description()).find("brg:avx512"), std::string::npos);
  }
}

}  // namespace
}  // namespace microtome
