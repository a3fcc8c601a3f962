#include <gtest/gtest.h>

#include "gemm_test_data.h"
#include "microtome/base/threads.h"
#include "microtome/kernels/isa.h"

namespace microtome {
namespace {

using test::AlignedBytes;
using test::view;
using test::Weights;

constexpr DType kTypes[] = {DType::kF32, DType::kF64, DType::kBF16, DType::kF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0};

class PackedMatrixTest : public ::testing::Test {
 protected:
  void TearDown() override {
    set_isa("");
    set_num_threads(0);
  }
};

// A half by its definition: sign, exponent, fraction.
double half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

TEST_F(PackedMatrixTest, every_finite_half_widens_to_its_value_on_every_isa) {
  std::vector<uint16_t> halves;
  for (int bits = 0; bits < 65536; ++bits) {
    if (((bits >> 10) & 31) != 31) halves.push_back(static_cast<uint16_t>(bits));
  }
  std::vector<float> wide(halves.size());
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    widen(DType::kF16, reinterpret_cast<const std::byte*>(halves.data()), static_cast<int64_t>(halves.size()), wide.data());
    for (size_t i = 0; i < halves.size(); ++i) {
      ASSERT_EQ(wide[i], half_value(halves[i])) << isa << " bits " << halves[i];
      ASSERT_EQ(std::signbit(wide[i]), (halves[i] & 0x8000) != 0) << isa << " bits " << halves[i];
    }
  }
}

TEST_F(PackedMatrixTest, infinite_halves_stay_infinite_and_nans_stay_nans_on_every_isa) {
  const std::vector<uint16_t> halves(32, 0x7c00), nans(32, 0xfe01);
  std::vector<float> wide(32);
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    widen(DType::kF16, reinterpret_cast<const std::byte*>(halves.data()), 32, wide.data());
    for (const float x : wide) EXPECT_EQ(x, std::numeric_limits<float>::infinity()) << isa;
    widen(DType::kF16, reinterpret_cast<const std::byte*>(nans.data()), 32, wide.data());
    for (const float x : wide) EXPECT_TRUE(std::isnan(x)) << isa;
  }
}

TEST_F(PackedMatrixTest, quantised_blocks_widen_by_their_formulas_on_every_isa) {
  const float d = 0.37109375f, m = -1.5f;  // halves, exactly
  const uint16_t d_bits = 0x35f0, m_bits = 0xbe00;
  ASSERT_EQ(half_value(d_bits), d);
  ASSERT_EQ(half_value(m_bits), m);
  std::vector<uint8_t> q4_0(18), q4_1(20), q8_0(34);
  std::memcpy(q4_0.data(), &d_bits, 2);
  std::memcpy(q4_1.data(), &d_bits, 2);
  std::memcpy(q4_1.data() + 2, &m_bits, 2);
  std::memcpy(q8_0.data(), &d_bits, 2);
  for (size_t i = 0; i < 16; ++i) q4_0[2 + i] = q4_1[4 + i] = static_cast<uint8_t>(i + 16 * ((i + 5) % 16));
  for (size_t i = 0; i < 32; ++i) q8_0[2 + i] = static_cast<uint8_t>(i * 8 + 128);
  float out[32];
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    const auto nibble = [](int i) { return static_cast<float>(i < 16 ? i : (i - 16 + 5) % 16); };
    widen(DType::kQ4_0, reinterpret_cast<const std::byte*>(q4_0.data()), 32, out);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], d * (nibble(i) - 8)) << isa << " " << i;
    widen(DType::kQ4_1, reinterpret_cast<const std::byte*>(q4_1.data()), 32, out);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], d * nibble(i) + m) << isa << " " << i;
    widen(DType::kQ8_0, reinterpret_cast<const std::byte*>(q8_0.data()), 32, out);
    for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], d * static_cast<float>(i * 8 - 128)) << isa << " " << i;
  }
}

TEST_F(PackedMatrixTest, unpacking_returns_the_widened_values_on_every_isa) {
  set_num_threads(1);  // thousands of small calls
  for (const std::string& isa : supported_isas()) {
    ASSERT_TRUE(set_isa(isa));
    for (const DType type : kTypes) {
      for (const int64_t n : {1, 31, 64, 65, 130}) {
        for (int64_t k : {1, 17, 32, 96, 160, 544}) {
          if (k % dtype_block_size(type) != 0) continue;
          const Weights w(type, k, n, static_cast<uint32_t>(k + n));
          for (const PackedFormat format : {PackedFormat::kF32, native_format(type)}) {
            const AlignedBytes packed = w.pack(format);
            std::vector<float> rows(static_cast<size_t>(k * n)), columns(rows.size());
            unpack(view(packed, format, k, n), 0, n, n, 1, rows.data());
            unpack(view(packed, format, k, n), 0, n, 1, k, columns.data());
            ASSERT_EQ(columns, w.widened) << isa << " " << dtype_name(type) << " as " << packed_format_name(format);
            for (int64_t i = 0; i < k * n; ++i) ASSERT_EQ(rows[static_cast<size_t>(i)], w.value(i / n, i % n)) << isa;
          }
        }
      }
    }
  }
}

TEST_F(PackedMatrixTest, unpacking_a_range_of_columns_returns_that_range) {
  const Weights w(DType::kQ4_1, 64, 200, 1);
  const AlignedBytes packed = w.pack(PackedFormat::kQ4_1);
  for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 1}, {63, 65}, {70, 190}, {199, 200}, {5, 5}}) {
    std::vector<float> out(static_cast<size_t>(64 * (end - begin)));
    unpack(view(packed, PackedFormat::kQ4_1, 64, 200), begin, end, 1, 64, out.data());
    for (int64_t i = 0; i < 64 * (end - begin); ++i) {
      ASSERT_EQ(out[static_cast<size_t>(i)], w.value(i % 64, begin + i / 64)) << begin << " to " << end;
    }
  }
}

TEST_F(PackedMatrixTest, columns_beyond_the_width_and_k_beyond_the_depth_are_zeros) {
  constexpr int64_t kK = 17, kN = 70;
  const Weights w(DType::kF32, kK, kN, 2);
  for (const PackedFormat format : {PackedFormat::kF32, PackedFormat::kBF16}) {
    AlignedBytes packed(packed_bytes(format, kK, kN));
    std::memset(packed.data.get(), 0xff, static_cast<size_t>(packed.size));
    pack_plain(format, w.widened.data(), kK, kN, 1, kK, packed.data.get());
    std::vector<float> padded(static_cast<size_t>(16 * 2 * 128));
    unpack(view(packed, format, kK, 128), kN, 128, 1, kK, padded.data());
    for (int64_t i = 0; i < kK * (128 - kN); ++i) ASSERT_EQ(padded[static_cast<size_t>(i)], 0) << packed_format_name(format);
    const int64_t deep = 32, extra = deep - kK;  // both formats round 17 up to 32
    std::vector<float> all(static_cast<size_t>(deep * 64));
    unpack(view(packed, format, deep, 64), 0, 64, 64, 1, all.data());
    for (int64_t i = 0; i < extra * 64; ++i) ASSERT_EQ(all[static_cast<size_t>(kK * 64 + i)], 0) << packed_format_name(format);
  }
}

TEST_F(PackedMatrixTest, plain_sources_pack_alike_by_rows_columns_and_strides) {
  constexpr int64_t kK = 45, kN = 70;
  const Weights w(DType::kF32, kK, kN, 3);
  std::vector<float> rows(static_cast<size_t>(kK * kN)), spread(static_cast<size_t>(2 * kK * kN));
  for (int64_t k = 0; k < kK; ++k) {
    for (int64_t n = 0; n < kN; ++n) {
      rows[static_cast<size_t>(k * kN + n)] = w.value(k, n);
      spread[static_cast<size_t>(2 * (n * kK + k))] = w.value(k, n);
    }
  }
  for (const PackedFormat format : {PackedFormat::kF32, PackedFormat::kBF16}) {
    const AlignedBytes want = w.pack(format);
    AlignedBytes got(want.size);
    const auto equal = [&] { return std::memcmp(got.data.get(), want.data.get(), static_cast<size_t>(want.size)) == 0; };
    pack_plain(format, rows.data(), kK, kN, kN, 1, got.data.get());
    EXPECT_TRUE(equal()) << "rows";
    pack_plain(format, w.widened.data(), kK, kN, 1, kK, got.data.get());
    EXPECT_TRUE(equal()) << "columns";
    pack_plain(format, spread.data(), kK, kN, 2, 2 * kK, got.data.get());
    EXPECT_TRUE(equal()) << "strides";
  }
}

TEST_F(PackedMatrixTest, bf16_rounds_to_nearest_even_and_keeps_nans) {
  const float one = 1.0f, ulp = 0x1p-7f, nan = std::numeric_limits<float>::quiet_NaN();
  const float huge = std::numeric_limits<float>::max(), infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> in = {one + ulp / 2, one + ulp * 1.5f, one + ulp * 0.51f, -one - ulp / 2, huge, infinity, nan, 1e-40f};
  AlignedBytes packed(packed_bytes(PackedFormat::kBF16, 8, 1));
  pack_plain(PackedFormat::kBF16, in.data(), 8, 1, 1, 8, packed.data.get());
  std::vector<float> out(8);
  unpack(view(packed, PackedFormat::kBF16, 8, 1), 0, 1, 1, 8, out.data());
  EXPECT_EQ(out[0], one);
  EXPECT_EQ(out[1], one + 2 * ulp);
  EXPECT_EQ(out[2], one + ulp);
  EXPECT_EQ(out[3], -one);
  EXPECT_EQ(out[4], infinity);
  EXPECT_EQ(out[5], infinity);
  EXPECT_TRUE(std::isnan(out[6]));
  EXPECT_EQ(out[7], 0x1p-133f);  // the smallest bf16
}

TEST_F(PackedMatrixTest, quantised_panels_are_no_larger_than_the_checkpoint) {
  for (const DType type : {DType::kF16, DType::kQ4_0, DType::kQ4_1, DType::kQ8_0}) {
    EXPECT_EQ(packed_bytes(native_format(type), 576, 1536), dtype_bytes(type, 576 * 1536)) << dtype_name(type);
  }
}

TEST_F(PackedMatrixTest, isas_can_be_chosen_and_unknown_names_are_refused) {
  const std::vector<std::string> isas = supported_isas();
  ASSERT_FALSE(isas.empty());
  for (const std::string& isa : isas) {
    EXPECT_TRUE(set_isa(isa));
    EXPECT_EQ(current_isa(), isa);
  }
  EXPECT_FALSE(set_isa("AVX9"));
  EXPECT_EQ(current_isa(), isas.back());
  EXPECT_TRUE(set_isa(""));
  EXPECT_EQ(current_isa(), isas.front());
}

}  // namespace
}  // namespace microtome
