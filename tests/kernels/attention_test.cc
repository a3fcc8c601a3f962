// What attention guarantees about bits, visible sets and partial results.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "attention_data.h"
#include "microtome/kernels/attention_statistics.h"
#include "microtome/kernels/isa.h"
#include "op_case.h"

namespace microtome::op_table {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

Arrays<float> inputs_of(const AttentionData& s, uint64_t seed = 7) {
  const int64_t slots = s.n_blocks() * kKeyBlock;
  return random_arrays<float>({s.rows * s.shape.d, slots * s.shape.d, slots * s.shape.dv}, -2, 2, seed);
}

struct Result {
  std::vector<float> z, lse;
  bool operator==(const Result& other) const {
    return z.size() == other.z.size() && std::memcmp(z.data(), other.z.data(), z.size() * 4) == 0 &&
           std::memcmp(lse.data(), other.lse.data(), lse.size() * 4) == 0;
  }
};

Result run(const AttentionData& s, const View<float>& view, int64_t first, int64_t n) {
  Result r{std::vector<float>(static_cast<size_t>(n * s.shape.dv)), std::vector<float>(static_cast<size_t>(n))};
  const std::vector<float*> z = row_pointers(r.z.data(), n, s.shape.dv);
  attention_block(s.shape, view.blocks(), view.rows.data() + first, n, z.data(), r.lse.data(), view.scratch());
  return r;
}

Result run_stages(const AttentionData& s, const View<float>& view) {
  const int64_t ld = s.keys + 3;
  Result r{std::vector<float>(static_cast<size_t>(s.rows * s.shape.dv)), std::vector<float>(static_cast<size_t>(s.rows))};
  std::vector<float> scores(static_cast<size_t>(s.rows * ld), 77.0f);
  const std::vector<float*> z = row_pointers(r.z.data(), s.rows, s.shape.dv);
  attention_scores(s.shape, view.blocks(), view.rows.data(), s.rows, scores.data(), ld, view.scratch());
  for (int64_t i = 0; i < s.rows; ++i) {
    for (int64_t j = 0; j < ld; ++j) {
      const float score = scores[static_cast<size_t>(i * ld + j)];
      if (j < s.begin(i)) {
        EXPECT_EQ(score, -kInfinity);
      } else if (j >= s.end(i)) {
        EXPECT_EQ(score, 77.0f) << "written beyond the row's end";
      }
    }
  }
  attention_softmax(view.rows.data(), s.rows, scores.data(), ld, r.lse.data());
  attention_apply(s.shape, view.blocks(), view.rows.data(), s.rows, scores.data(), ld, z.data(), view.scratch());
  return r;
}

class Attention : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { ASSERT_TRUE(set_isa(GetParam())); }
  void TearDown() override { set_isa(""); }
};

std::vector<AttentionData> shapes() {
  std::vector<AttentionData> all = attention_data(false);
  const AttentionShape wide{64, 64, 0.125f, 0};
  all.push_back({"long", wide, 3 * 50, 700, 3, 0, true, false, false});
  all.push_back({"many_keys", wide, 3 * 7, 9000, 3, 0, true, false, false});
  return all;
}

TEST_P(Attention, fused_equals_three_stages_bit_for_bit) {
  for (const AttentionData& s : shapes()) {
    const View<float> view(s, inputs_of(s));
    EXPECT_TRUE(run(s, view, 0, s.rows) == run_stages(s, view)) << s.name;
  }
}

TEST_P(Attention, mass_on_listed_keys_and_entropy_are_those_of_the_stored_pattern) {
  for (const AttentionData& s : shapes()) {
    const View<float> view(s, inputs_of(s));
    const int64_t ld = s.keys;
    std::vector<float> pattern(static_cast<size_t>(s.rows * ld));
    attention_scores(s.shape, view.blocks(), view.rows.data(), s.rows, pattern.data(), ld, view.scratch());
    attention_softmax(view.rows.data(), s.rows, pattern.data(), ld, nullptr);

    KeyLists lists(3, true);
    std::vector<int64_t> row_of;
    std::vector<double> want, mass(static_cast<size_t>(s.rows * lists.width()), 77.0);
    for (int64_t i = 0; i < s.rows; ++i) {
      std::vector<int32_t> some;  // seen or not
      for (int64_t j = i % 5; j < s.keys; j += 7) some.push_back(static_cast<int32_t>(j));
      lists.add_row({{0}, {}, some});
      row_of.push_back(s.rows - 1 - i);
    }
    for (int64_t i = 0; i < s.rows; ++i) {
      const float* p = pattern.data() + i * ld;
      const auto seen = [&](int64_t j) { return j >= s.begin(i) && j < s.end(i) ? static_cast<double>(p[j]) : 0.0; };
      double sum = 0, entropy = 0;
      for (const int32_t j : lists.keys(row_of[static_cast<size_t>(i)], 2)) sum += seen(j);
      for (int64_t j = 0; j < s.keys; ++j) entropy -= seen(j) > 0 ? seen(j) * std::log(seen(j)) : 0;
      want.insert(want.end(), {seen(0), 0.0, sum, entropy});
    }
    Result r{std::vector<float>(static_cast<size_t>(s.rows * s.shape.dv)), std::vector<float>(static_cast<size_t>(s.rows))};
    attention_block_mass(s.shape, view.blocks(), view.rows.data(), s.rows, lists, row_of.data(),
                         row_pointers(r.z.data(), s.rows, s.shape.dv).data(),
                         row_pointers(mass.data(), s.rows, lists.width()).data(), view.scratch());
    EXPECT_EQ(std::memcmp(r.z.data(), run(s, view, 0, s.rows).z.data(), r.z.size() * 4), 0) << s.name;
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(mass[i], want[i], i % 4 == 3 ? 1e-5 : 0) << s.name << " " << i;
  }
}

TEST_P(Attention, row_alone_equals_row_among_others_bit_for_bit) {
  for (const AttentionData& s : shapes()) {
    const View<float> view(s, inputs_of(s));
    const Result all = run(s, view, 0, s.rows);
    for (const int64_t n : {1, 3, 7}) {
      Result pieces;
      for (int64_t first = 0; first < s.rows; first += n) {
        const Result piece = run(s, view, first, std::min(n, s.rows - first));
        pieces.z.insert(pieces.z.end(), piece.z.begin(), piece.z.end());
        pieces.lse.insert(pieces.lse.end(), piece.lse.begin(), piece.lse.end());
      }
      EXPECT_TRUE(all == pieces) << s.name << " in runs of " << n;
    }
  }
}

TEST_P(Attention, keys_in_any_slots_equal_contiguous_keys_bit_for_bit) {
  AttentionData s{"", {24, 40, 0.2f, 0}, 2 * 11, 130, 2, 90, true, false, false};
  const Arrays<float> plain = inputs_of(s);
  const View<float> contiguous(s, plain);
  s.slots = true;
  const View<float> maps(s, plain);  // only its slot maps are used
  // One map for all rows here: the keys are moved to where it says.
  const std::vector<int32_t>& map = maps.slot_maps[0];
  Arrays<float> moved = plain;
  for (int64_t j = 0; j < s.keys; ++j) {
    std::copy_n(&plain[1][static_cast<size_t>(j * s.shape.d)], s.shape.d,
                &moved[1][static_cast<size_t>(map[static_cast<size_t>(j)] * s.shape.d)]);
    std::copy_n(&plain[2][static_cast<size_t>(j * s.shape.dv)], s.shape.dv,
                &moved[2][static_cast<size_t>(map[static_cast<size_t>(j)] * s.shape.dv)]);
  }
  View<float> scattered(s, moved);
  for (QueryRow& row : scattered.rows) row.slots = scattered.slot_maps[0].data();
  EXPECT_TRUE(run(s, contiguous, 0, s.rows) == run(s, scattered, 0, s.rows));
}

TEST_P(Attention, values_beyond_the_end_and_below_the_beginning_do_not_matter) {
  AttentionData s{"", {16, 16, 0.25f, 0}, 9, 100, 1, 30, true, false, false};
  Arrays<float> in = inputs_of(s);
  const View<float> clean(s, in);
  for (int64_t j = 0; j < s.n_blocks() * kKeyBlock; ++j) {
    if (j >= s.begin(0) && j < s.keys) continue;
    for (int64_t c = 0; c < 16; ++c)
      in[1][static_cast<size_t>(j * 16 + c)] = in[2][static_cast<size_t>(j * 16 + c)] = std::nanf("");
  }
  EXPECT_TRUE(run(s, clean, 0, s.rows) == run(s, View<float>(s, in), 0, s.rows));
}

TEST_P(Attention, row_without_a_visible_key_is_zero_and_minus_infinity) {
  const AttentionData s{"", {8, 8, 1, 0}, 4, 40, 1, 0, true, false, false};
  View<float> view(s, inputs_of(s));
  const std::vector<float> hidden(40, -kInfinity);
  view.rows[1].begin = view.rows[1].end = 0;
  view.rows[2].begin = view.rows[2].end;
  view.rows[3].bias = hidden.data();
  const Result r = run(s, view, 0, s.rows);
  EXPECT_TRUE(std::isfinite(r.lse[0]));
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(r.lse[i], -kInfinity) << i;
    for (size_t c = 0; c < 8; ++c) EXPECT_EQ(r.z[i * 8 + c], 0.0f) << i;
  }
}

TEST_P(Attention, merge_of_two_halves_equals_the_whole) {
  const AttentionData s{"", {16, 24, 0.25f, 0}, 5, 200, 1, 0, false, false, false};
  View<float> view(s, inputs_of(s));
  const Result whole = run(s, view, 0, s.rows);
  for (const int32_t middle : {0, 1, 90, 200}) {
    for (QueryRow& row : view.rows) row.begin = 0, row.end = middle;
    Result left = run(s, view, 0, s.rows);
    for (QueryRow& row : view.rows) row.begin = middle, row.end = 200;
    const Result right = run(s, view, 0, s.rows);
    for (int64_t i = 0; i < s.rows; ++i) {
      const size_t r = static_cast<size_t>(i);
      attention_merge(24, &left.z[r * 24], &left.lse[r], &right.z[r * 24], right.lse[r]);
      EXPECT_NEAR(left.lse[r], whole.lse[r], 1e-6 * std::abs(whole.lse[r]));
      for (size_t c = 0; c < 24; ++c) EXPECT_NEAR(left.z[r * 24 + c], whole.z[r * 24 + c], 2e-6);
    }
  }
}

TEST_P(Attention, fused_gradient_does_not_depend_on_how_rows_are_cut) {
  const AttentionData s{"", {16, 24, 0.25f, 3.0f}, 3 * 9, 140, 3, 50, true, true, false};
  const View<float> view(s, inputs_of(s));
  const Arrays<float> dout = random_arrays<float>({s.rows * 24, s.rows}, -1, 1, 3);
  const auto gradients = [&](int64_t step) {
    Arrays<float> g = zeros<float>({s.rows * 16, s.n_blocks() * kKeyBlock * 16, s.n_blocks() * kKeyBlock * 24});
    const auto dz = row_pointers(dout[0].data(), s.rows, 24);
    const auto dq = row_pointers(g[0].data(), s.rows, 16), dk = row_pointers(g[1].data(), s.n_blocks(), kKeyBlock * 16);
    const auto dv = row_pointers(g[2].data(), s.n_blocks(), kKeyBlock * 24);
    for (int64_t i = 0; i < s.rows; i += step) {
      attention_block_backward(s.shape, view.blocks(), view.rows.data() + i, std::min(step, s.rows - i), dz.data() + i,
                               dout[1].data() + i, dq.data() + i, dk.data(), dv.data(), view.scratch());
    }
    return g;
  };
  EXPECT_EQ(gradients(s.rows), gradients(4));
  EXPECT_EQ(gradients(s.rows), gradients(1));
}

INSTANTIATE_TEST_SUITE_P(EveryIsa, Attention, testing::ValuesIn(supported_isas()),
                         [](const testing::TestParamInfo<std::string>& info) { return info.param; });

TEST(AttentionScratch, is_bounded_for_long_contexts) {
  EXPECT_LE(attention_scratch_bytes({64, 64, 1, 0}, 8192), int64_t{2} << 20);
  EXPECT_LE(attention_scratch_bytes({64, 64, 1, 0}, 1), int64_t{1} << 18);
}

}  // namespace
}  // namespace microtome::op_table
