// Token tables: streamed = dense, planted skip-trigrams with their forced bugs, bigrams, tokens of directions.
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <tuple>

#include "algebra_support.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/directions.h"
#include "microtome/circuits/algebra/token_tables.h"

namespace microtome::algebra {
namespace {

TokenTable random_table(int64_t rows, int64_t k, int64_t cols, uint64_t seed) {
  return {Tensor::from(gaussians(rows * k, seed, 0), {rows, k}), pack_matrix(gaussians(k * cols, seed, 1).data(), k, cols)};
}

MatrixF64 dense(const TokenTable& t, const std::vector<float>& right) {
  const int64_t k = t.left.size(1);
  return matmul(MatrixF64::from(t.left.f32(), t.rows(), k), MatrixF64::from(right.data(), k, t.cols()));
}

// Wider than one block of columns and taller than one of rows, neither a multiple.
TEST(TokenTables, streamed_tops_are_those_of_the_dense_table) {
  constexpr int64_t kRows = 250, kK = 8, kCols = 1100;
  const TokenTable table = random_table(kRows, kK, kCols, 1);
  const MatrixF64 all = dense(table, gaussians(kK * kCols, 1, 1));
  std::vector<double> values = all.data;
  std::sort(values.begin(), values.end(), std::greater<>());
  const auto pairs = top_pairs(table, 40);
  ASSERT_EQ(pairs.size(), 40u);
  for (size_t i = 0; i < pairs.size(); ++i) {
    EXPECT_NEAR(pairs[i].value, values[i], 1e-5);
    EXPECT_NEAR(all(pairs[i].row, pairs[i].column), values[i], 1e-5);
  }
  const auto some = top_pairs(table, 3, {200, 7});
  for (const TokenPair& p : some) EXPECT_TRUE(p.row == 200 || p.row == 7);
  EXPECT_NEAR(some[0].value,
              std::max(*std::max_element(all.data.begin() + 200 * kCols, all.data.begin() + 201 * kCols),
                       *std::max_element(all.data.begin() + 7 * kCols, all.data.begin() + 8 * kCols)),
              1e-5);

  const auto rows = top_of_rows(table, 3);
  for (int64_t r = 0; r < kRows; ++r) {
    std::vector<double> row(all.data.begin() + r * kCols, all.data.begin() + (r + 1) * kCols);
    std::sort(row.begin(), row.end(), std::greater<>());
    for (int64_t i = 0; i < 3; ++i) EXPECT_NEAR(rows[r * 3 + i].value, row[i], 1e-5);
  }
}

TEST(TokenTables, more_rows_than_pairs_and_equal_entries_are_ordered_by_row_and_column) {
  const std::vector<float> ones(4, 1.0f);
  const TokenTable table{Tensor::from({1, 1, 1, 1}, {4, 1}), pack_matrix(ones.data(), 1, 4)};
  const auto pairs = top_pairs(table, 6);
  ASSERT_EQ(pairs.size(), 6u);
  for (int i = 0; i < 6; ++i) EXPECT_EQ(std::pair(pairs[i].row, pairs[i].column), std::pair(i / 4, i % 4));
  EXPECT_EQ(top_pairs(table, 100).size(), 16u);
  EXPECT_EQ(top_of_rows(table, 6)[5].column, -1);
}

TEST(TokenTables, tops_do_not_depend_on_the_number_of_threads) {
  const TokenTable table = random_table(700, 8, 1500, 2);
  const int before = num_threads();
  set_num_threads(1);
  const auto one = top_pairs(table, 50);
  set_num_threads(3);
  const auto three = top_pairs(table, 50);
  set_num_threads(before);
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_EQ(std::tuple(one[i].row, one[i].column, one[i].value), std::tuple(three[i].row, three[i].column, three[i].value));
}

TEST(TokenTables, share_with_own_counts_rows_whose_diagonal_is_among_the_first) {
  MatrixF64 m = MatrixF64::identity(8);
  for (int64_t t = 0; t < 3; ++t) m(t, t) = -1;  // three tokens lower themselves
  const std::vector<float> right(m.data.begin(), m.data.end());
  MatrixF64 unit = MatrixF64::identity(8);
  const TokenTable table{Tensor::from({unit.data.begin(), unit.data.end()}, {8, 8}), pack_matrix(right.data(), 8, 8)};
  EXPECT_EQ(share_with_own(table, 1), 5.0 / 8);
  EXPECT_EQ(share_with_own(table, 8), 1);
}

// Tokens are one-hot, in and out; the head attends from a to b and writes c, for the triples given, under noise.
struct Planted {
  static constexpr int64_t kV = 64, kK = 16;
  HeadWeights head = random_head(kV, kK, 3, 0);
  Vocabulary vocabulary = one_hot();
  std::set<std::tuple<int, int, int>> table;  // (b, a, c) that the weights hold, forced ones included

  static Vocabulary one_hot() {
    const MatrixF64 unit = MatrixF64::identity(kV);
    const std::vector<float> values(unit.data.begin(), unit.data.end());
    return {values, values, kV, kV};
  }
  Planted() {
    for (std::vector<float>* w : {&head.w_q, &head.w_k, &head.w_v, &head.w_o})
      for (float& x : *w) x *= 0.4f;  // noise of .05
    for (int i = 0; i < 12; ++i) plant(i, 2 * i, {30 + i}, {50 + i});
    plant(12, 29, {44, 45}, {62, 63});  // keep … in mind, keep … at bay: forces "in bay" and "at mind"
  }
  void plant(int dimension, int b, const std::vector<int>& as, const std::vector<int>& cs) {
    head.w_k[b * kK + dimension] += 3;
    head.w_v[b * kK + dimension] += 3;
    for (const int a : as) head.w_q[a * kK + dimension] += 3;
    for (const int c : cs) head.w_o[dimension * kV + c] += 3;
    for (const int a : as)
      for (const int c : cs) table.emplace(b, a, c);
  }
};

TEST(SkipTrigrams, planted_ones_are_found_with_their_bugs_and_nothing_else) {
  const Planted planted;
  const auto rows = skip_trigrams(planted.head, planted.vocabulary, {.per_source = 4, .top = 16});
  ASSERT_EQ(rows.size(), planted.table.size());
  int found = 0, forced = 0;
  for (const SkipTrigram& t : rows) {
    found += static_cast<int>(planted.table.contains({t.source, t.destination, t.output}));
    EXPECT_NEAR(t.score, t.qk * t.ov, 1e-9);
    if (!t.forced) continue;
    ++forced;  // what forces it is planted too
    EXPECT_EQ(t.source, 29);
    EXPECT_TRUE(planted.table.contains({t.source, t.destination, t.forced_output}));
    EXPECT_TRUE(planted.table.contains({t.source, t.forced_destination, t.output}));
  }
  EXPECT_GE(found, 15);  // precision and recall at least .9: as many rows as planted ones
  EXPECT_EQ(forced, 1);  // of four corners of a rectangle, three leave no choice about the last

  // Control: the same noise without anything planted reaches nowhere near.
  HeadWeights noise = random_head(Planted::kV, Planted::kK, 3, 0);
  for (std::vector<float>* w : {&noise.w_q, &noise.w_k, &noise.w_v, &noise.w_o})
    for (float& x : *w) x *= 0.4f;
  EXPECT_LT(skip_trigrams(noise, planted.vocabulary, {.per_source = 4, .top = 1})[0].score, rows.back().score / 10);
}

TEST(Bigrams, are_the_softmax_of_the_direct_path) {
  constexpr int64_t kV = 150, kD = 12;
  const std::vector<float> e = gaussians(kV * kD, 4, 0), u = gaussians(kV * kD, 4, 1);
  const Vocabulary vocabulary(e, u, kV, kD);
  const MatrixF64 logits = matmul(MatrixF64::from(e.data(), kV, kD), MatrixF64::from(u.data(), kD, kV));
  std::vector<double> expected;
  for (int64_t s = 0; s < kV; ++s) {
    double sum = 0;
    for (int64_t t = 0; t < kV; ++t) sum += std::exp(logits(s, t));
    for (int64_t t = 0; t < kV; ++t) expected.push_back(logits(s, t) - std::log(sum));
  }
  std::vector<double> sorted = expected;
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  const auto rows = bigrams(vocabulary, {.top = 200});
  ASSERT_EQ(rows.size(), 200u);
  for (size_t i = 0; i < rows.size(); ++i) {
    EXPECT_NEAR(rows[i].logprob, sorted[i], 1e-5);
    EXPECT_NEAR(rows[i].logprob, expected[rows[i].source * kV + rows[i].target], 1e-5);
  }
  const auto some = bigrams(vocabulary, {.sources = {9, 140}, .per_source = 2, .top = 10});
  ASSERT_EQ(some.size(), 4u);
  for (const Bigram& b : some) EXPECT_TRUE(b.source == 9 || b.source == 140);
}

TEST(SingularDirections, a_head_of_one_rule_reads_its_source_and_writes_its_output) {
  const Planted blank;
  HeadWeights head = blank.head;
  for (float& w : head.w_v) w *= 0.1f;
  head.w_v[7 * Planted::kK] = 5, head.w_o[9] = 5;  // token 7 in, token 9 out
  const auto directions = singular_directions(head, HeadCircuit::kOv, 1);
  ASSERT_EQ(directions.size(), 2u);
  const std::vector<std::vector<float>> read{directions[0].vector}, written{directions[1].vector};
  EXPECT_EQ(tokens_of(blank.vocabulary, read, directions[0].side, 1)[0].top[0].column, 7);
  EXPECT_EQ(tokens_of(blank.vocabulary, written, directions[1].side, 1)[0].top[0].column, 9);
  EXPECT_GT(directions[0].share, 0.5);
}

TEST(SingularDirections, of_mlp_matrices_are_those_of_the_dense_svd) {
  constexpr int64_t kD = 20, kM = 50;
  const std::vector<float> w = gaussians(kD * kM, 5, 0);
  const ThinSvd svd = thin_svd(MatrixF64::from(w.data(), kD, kM));
  const auto reads = singular_directions(w, kD, kM, false, 3);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(reads[i].value, svd.s[i], 1e-9);
    double dot = 0;
    for (int64_t j = 0; j < kD; ++j) dot += reads[i].vector[j] * svd.u(j, i);
    EXPECT_NEAR(std::abs(dot), 1, 1e-6);
  }
}

}  // namespace
}  // namespace microtome::algebra
