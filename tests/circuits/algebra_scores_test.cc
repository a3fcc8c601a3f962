// Copying, matching, composition, induction and deletion: planted heads, dense references, and the random null.
#include <gtest/gtest.h>

#include "algebra_support.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/directions.h"
#include "microtome/circuits/algebra/induction.h"
#include "microtome/circuits/algebra/vocabulary.h"

namespace microtome::algebra {
namespace {

constexpr int64_t kD = 64, kK = 16, kV = 80;

Vocabulary random_vocabulary(uint64_t seed, uint64_t model = 0) {
  return {gaussians(kV * kD, seed, 2 * model), gaussians(kV * kD, seed, 2 * model + 1), kV, kD};
}

MatrixF64 embed_gram(const Vocabulary& v) {
  const MatrixF64 with_one = v.gram_matching();
  MatrixF64 out(v.d(), v.d());
  for (int64_t i = 0; i < v.d(); ++i)
    for (int64_t j = 0; j < v.d(); ++j) out(i, j) = with_one(i, j);
  return out;
}

void expect_same_spectrum(const std::vector<std::complex<double>>& small, const std::vector<std::complex<double>>& large) {
  const double scale = std::abs(large[0]);
  for (size_t i = 0; i < small.size(); ++i) EXPECT_NEAR(std::abs(small[i]) / scale, std::abs(large[i]) / scale, 1e-5) << i;
}

TEST(Copying, eigenvalues_are_those_of_the_whole_table) {
  const std::vector<float> e = gaussians(kV * kD, 1, 0), u = gaussians(kV * kD, 1, 1);
  const Vocabulary vocabulary(e, u, kV, kD);
  const HeadWeights head = random_head(kD, kK, 1, 0);
  const MatrixF64 table = matmul(matmul(MatrixF64::from(e.data(), kV, kD), dense(head.ov())), MatrixF64::from(u.data(), kD, kV));
  const HeadWeights one[] = {head};
  const HeadSpectrum s = copying(one, vocabulary.gram_copying())[0];
  const auto whole = microtome::eigenvalues(table);
  expect_same_spectrum(s.eigenvalues, whole);
  EXPECT_NEAR(s.score, positivity({whole.begin(), whole.begin() + kK}), 1e-5);
  EXPECT_NEAR(s.trace / microtome::trace(table), 1, 1e-5);
}

TEST(Matching, eigenvalues_are_those_of_the_whole_table_biases_included) {
  const std::vector<float> e = gaussians(kV * kD, 2, 0);
  const Vocabulary vocabulary(e, gaussians(kV * kD, 2, 1), kV, kD);
  HeadWeights head = random_head(kD, kK, 2, 0);
  head.b_q = gaussians(kK, 2, 5);
  head.b_k = gaussians(kK, 2, 6);
  MatrixF64 x(kV, kD + 1);
  for (int64_t t = 0; t < kV; ++t) {
    for (int64_t j = 0; j < kD; ++j) x(t, j) = e[t * kD + j];
    x(t, kD) = 1;
  }
  MatrixF64 table = matmul_nt(matmul(x, dense(head.qk_with_bias())), x);
  for (double& value : table.data) value *= head.scale;
  const HeadWeights one[] = {head};
  const HeadSpectrum s = matching(one, vocabulary.gram_matching())[0];
  const auto whole = microtome::eigenvalues(table);
  expect_same_spectrum(s.eigenvalues, whole);
  EXPECT_NEAR(s.score, positivity({whole.begin(), whole.begin() + kK}), 1e-5);
}

TEST(Copying, an_identity_like_head_scores_one_and_random_heads_score_about_zero) {
  const std::vector<float> e = gaussians(kV * kD, 3, 0);
  std::vector<float> u(e.size());  // W_U = W_Eᵀ
  for (int64_t t = 0; t < kV; ++t)
    for (int64_t j = 0; j < kD; ++j) u[j * kV + t] = e[t * kD + j];
  const MatrixF64 gram = Vocabulary(e, u, kV, kD).gram_copying();
  HeadWeights identity = random_head(kD, kK, 3, 0);
  for (int64_t i = 0; i < kD; ++i)
    for (int64_t j = 0; j < kK; ++j) identity.w_o[j * kD + i] = identity.w_v[i * kK + j];
  const HeadWeights one[] = {identity};
  EXPECT_GT(copying(one, gram)[0].score, 0.99);
  for (float& w : identity.w_o) w = -w;
  const HeadWeights negative[] = {identity};
  EXPECT_LT(copying(negative, gram)[0].score, -0.99);
  double mean = 0;
  for (const HeadSpectrum& s : copying(random_heads(10, 10, kD, kK, 4), gram)) mean += s.score / 100;
  EXPECT_LT(std::abs(mean), 0.1);
}

TEST(CompositionScores, every_pair_and_kind_is_that_of_the_dense_matrices) {
  const std::vector<HeadWeights> heads = random_heads(3, 2, 24, 6, 5);
  const CompositionKind kinds[] = {CompositionKind::kQ, CompositionKind::kK, CompositionKind::kV};
  const std::vector<Composition> rows = composition(heads, heads, kinds);
  ASSERT_EQ(rows.size(), 3u * (2 * 2 + 4 * 2));
  for (const Composition& r : rows) {
    const HeadWeights &from = heads[r.from.layer * 2 + r.from.head], &to = heads[r.to.layer * 2 + r.to.head];
    const Factored y = r.kind == CompositionKind::kQ ? to.qk() : r.kind == CompositionKind::kK ? transposed(to.qk()) : to.ov();
    EXPECT_LT(r.from.layer, r.to.layer);
    EXPECT_NEAR(r.score, dense_composition(from.ov(), y), 1e-5);
  }
}

TEST(CompositionScores, random_pairs_stay_within_three_deviations_of_the_baseline) {
  const CompositionBaseline base = composition_baseline(kD, kK, {.pairs = 200, .seed = 6});
  EXPECT_NEAR(base.mean, 1 / std::sqrt(static_cast<double>(kD)), 0.01);
  int within = 0;
  for (int i = 0; i < 400; ++i) within += std::abs(random_pair_score(kD, kK, 7, i) - base.mean) <= 3 * base.sd;
  EXPECT_GE(within, 396);
}

TEST(CompositionScores, a_planted_key_reader_is_first_and_no_other_kind_rises) {
  std::vector<HeadWeights> heads = random_heads(2, 4, kD, kK, 8);
  HeadWeights& reader = heads[4 + 2];  // 1.2 reads as its key what 0.1 writes
  for (int64_t i = 0; i < kD; ++i)
    for (int64_t j = 0; j < kK; ++j) reader.w_k[i * kK + j] = heads[1].w_o[j * kD + i];
  const CompositionBaseline base = composition_baseline(kD, kK, {.pairs = 200, .seed = 9});
  for (const CompositionKind kind : {CompositionKind::kQ, CompositionKind::kK, CompositionKind::kV}) {
    const CompositionKind one[] = {kind};
    auto rows = composition(heads, heads, one);
    std::sort(rows.begin(), rows.end(), [](const Composition& a, const Composition& b) { return a.score > b.score; });
    if (kind == CompositionKind::kK) {
      EXPECT_EQ(rows[0].from, (HeadId{0, 1}));
      EXPECT_EQ(rows[0].to, (HeadId{1, 2}));
      EXPECT_GT(rows[0].score, base.mean + 20 * base.sd);
      EXPECT_LT(rows[1].score, base.mean + 5 * base.sd);
    } else {
      EXPECT_LT(rows[0].score, base.mean + 5 * base.sd);
    }
  }
}

// Tokens lie in dimensions 0-15; 0.1 copies them to 48-63, 1.2 matches its own token against those and copies tokens.
std::vector<HeadWeights> planted_induction() {
  std::vector<HeadWeights> heads = random_heads(2, 4, kD, kK, 10);
  const auto select = [](std::vector<float>& w, int64_t first, bool reads) {
    std::fill(w.begin(), w.end(), 0.0f);
    for (int64_t j = 0; j < kK; ++j) w[reads ? (first + j) * kK + j : j * kD + first + j] = 1;
  };
  select(heads[1].w_v, 0, true), select(heads[1].w_o, 48, false);
  HeadWeights& h = heads[6];
  select(h.w_q, 0, true), select(h.w_k, 48, true), select(h.w_v, 0, true), select(h.w_o, 0, false);
  return heads;
}

TEST(InductionFromWeights, a_planted_head_is_first_and_names_its_previous_token_head) {
  std::vector<float> e(static_cast<size_t>(kV * kD), 0.0f), u(e.size(), 0.0f);
  const std::vector<float> token = gaussians(kV * kK, 11, 0);
  for (int64_t t = 0; t < kV; ++t)
    for (int64_t j = 0; j < kK; ++j) e[t * kD + j] = u[j * kV + t] = token[t * kK + j];
  const Vocabulary vocabulary(e, u, kV, kD);
  std::vector<double> previous(8, 0.05);
  previous[1] = 0.9;
  const auto rows = induction(planted_induction(), previous, embed_gram(vocabulary), vocabulary.gram_copying());
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0].id, (HeadId{1, 2}));
  EXPECT_EQ(rows[0].via, (HeadId{0, 1}));
  EXPECT_GT(rows[0].score, 0.99);
  EXPECT_GT(rows[0].copying, 0.99);
  for (size_t i = 1; i < rows.size(); ++i) {
    EXPECT_LT(rows[i].score, 0.9);
    EXPECT_LT(std::abs(rows[i].qk_trace), rows[0].qk_trace / 2);
  }
}

TEST(InductionFromWeights, scores_are_those_of_the_dense_table) {
  const std::vector<HeadWeights> heads = random_heads(2, 1, kD, kK, 12);
  const std::vector<float> e = gaussians(kV * kD, 12, 0);
  const Vocabulary vocabulary(e, gaussians(kV * kD, 12, 1), kV, kD);
  const MatrixF64 w_e = MatrixF64::from(e.data(), kV, kD);
  const MatrixF64 middle = matmul_nt(dense(heads[1].qk()), dense(heads[0].ov()));
  const MatrixF64 table = matmul_nt(matmul(w_e, middle), w_e);
  const std::vector<double> previous{0.7, 0.1};
  const MatrixF64 gram = embed_gram(vocabulary);
  const InductionScore s = induction(heads, previous, gram, vocabulary.gram_copying())[0];
  const auto values = microtome::eigenvalues(table);
  EXPECT_NEAR(s.score, positivity({values.begin(), values.begin() + kK}), 1e-5);
  const double norms = frobenius_norm(heads[1].qk()) * frobenius_norm(heads[0].ov()) * frobenius_norm(gram);
  EXPECT_NEAR(s.qk_trace, 0.7 * microtome::trace(table) / norms, 1e-7);
  EXPECT_NEAR(s.composition, dense_composition(heads[0].ov(), transposed(heads[1].qk())), 1e-10);
}

TEST(VirtualHeads, their_spectrum_is_that_of_the_dense_product) {
  const std::vector<HeadWeights> heads = random_heads(2, 1, kD, kK, 13);
  const Vocabulary vocabulary = random_vocabulary(13);
  const MatrixF64 gram = vocabulary.gram_copying();
  const VirtualHead v = virtual_head(heads[0], heads[1], gram);
  const MatrixF64 both = matmul(dense(heads[0].ov()), dense(heads[1].ov()));
  expect_same_spectrum(v.copying.eigenvalues, microtome::eigenvalues(matmul(both, gram)));
  EXPECT_NEAR(v.composition, dense_composition(heads[0].ov(), heads[1].ov()), 1e-10);
}

TEST(Deletion, a_head_that_takes_away_what_it_reads_scores_one) {
  std::vector<HeadWeights> heads = random_heads(1, 4, kD, kK, 14);
  const ThinQr basis = thin_qr(gaussian_matrix(kD, kK, 14, "deletion", 0));
  for (int64_t i = 0; i < kD; ++i)
    for (int64_t j = 0; j < kK; ++j) {
      heads[2].w_v[i * kK + j] = static_cast<float>(basis.q(i, j));
      heads[2].w_o[j * kD + i] = static_cast<float>(-basis.q(i, j));
    }
  for (const HeadDeletion& d : deletion(heads)) {
    if (d.id.head == 2) {
      EXPECT_NEAR(d.score, 1, 1e-6);
      EXPECT_NEAR(std::abs(d.nearest + 1.0), 0, 1e-6);
    } else {
      EXPECT_LT(std::abs(d.score), 0.9);
    }
  }
}

TEST(Deletion, a_planted_neuron_is_first) {
  MlpWeights mlp{.d = kD, .m = 256, .w_in = gaussians(kD * 256, 15, 0), .w_out = gaussians(kD * 256, 15, 1)};
  for (int64_t i = 0; i < kD; ++i) mlp.w_out[37 * kD + i] = -0.3f * mlp.w_in[i * 256 + 37];
  auto rows = neuron_cosines(mlp, 4);
  std::sort(rows.begin(), rows.end(), [](const NeuronCosines& a, const NeuronCosines& b) { return a.input < b.input; });
  EXPECT_EQ(rows[0].neuron, 37);
  EXPECT_EQ(rows[0].layer, 4);
  EXPECT_NEAR(rows[0].input, -1, 1e-6);
  EXPECT_GT(rows[1].input, -6 / std::sqrt(static_cast<double>(kD)));
}

// The largest score of each detector over one random model of 2 layers and 4 heads of width 16.
constexpr int kDetectors = 9;
std::array<double, kDetectors> detector_maxima(uint64_t seed, int64_t model) {
  const std::vector<HeadWeights> heads = random_heads(2, 4, kD, kK, seed, model);
  const Vocabulary vocabulary = random_vocabulary(seed, model);
  const MatrixF64 gram = vocabulary.gram_copying();
  std::array<double, kDetectors> out;
  out.fill(-INFINITY);
  const auto see = [&](int detector, double score) { out[detector] = std::max(out[detector], score); };
  for (const HeadSpectrum& s : copying(heads, gram)) see(0, s.score), see(1, -s.score);
  for (const HeadSpectrum& s : matching(heads, vocabulary.gram_matching())) see(2, s.score);
  const CompositionKind kinds[] = {CompositionKind::kQ, CompositionKind::kK, CompositionKind::kV};
  for (const Composition& c : composition(heads, heads, kinds)) see(3 + static_cast<int>(c.kind), c.score);
  const std::vector<double> previous(8, 1.0);
  for (const InductionScore& s : induction(heads, previous, embed_gram(vocabulary), gram)) see(6, s.score);
  for (const HeadDeletion& d : deletion(heads)) see(7, d.score);
  const MlpWeights mlp{.d = kD,
                       .m = 32,
                       .w_in = gaussians(kD * 32, seed + 100, 2 * model),
                       .w_out = gaussians(kD * 32, seed + 100, 2 * model + 1)};
  for (const NeuronCosines& n : neuron_cosines(mlp, 0)) see(8, std::abs(n.input));
  return out;
}

TEST(WeightDetectors, find_next_to_nothing_in_fresh_random_models) {
  constexpr int64_t kModels = 1000;
  std::vector<std::array<double, kDetectors>> null(kModels), fresh(kModels);
  parallel_for(kModels, 8, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) null[i] = detector_maxima(1001, i), fresh[i] = detector_maxima(2002, i);
  });
  for (int detector = 0; detector < kDetectors; ++detector) {
    std::vector<double> scores;
    for (const auto& n : null) scores.push_back(n[detector]);
    std::sort(scores.begin(), scores.end());
    const double threshold = scores[static_cast<size_t>(0.999 * kModels)];
    const auto hits = std::count_if(fresh.begin(), fresh.end(), [&](const auto& f) { return f[detector] > threshold; });
    EXPECT_LE(hits, kModels / 100) << "detector " << detector << ", threshold " << threshold;
  }
}

TEST(WeightAlgebra, gives_the_same_digits_on_any_number_of_threads) {
  const std::vector<HeadWeights> heads = random_heads(3, 3, kD, kK, 16);
  const MatrixF64 gram = random_vocabulary(16).gram_copying();
  const CompositionKind kinds[] = {CompositionKind::kQ, CompositionKind::kK};
  const int before = num_threads();
  std::vector<double> digits[2];
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    auto& out = digits[threads == 3];
    for (const Composition& c : composition(heads, heads, kinds)) out.push_back(c.score);
    for (const HeadSpectrum& s : copying(heads, gram)) out.push_back(s.score);
  }
  set_num_threads(before);
  EXPECT_EQ(digits[0], digits[1]);
}

}  // namespace
}  // namespace microtome::algebra
