// Planted heads are found and ranked first, random ones are not; ablation tells heads that matter from heads that do not.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <set>

#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/spectra.h"
#include "microtome/circuits/algebra/vocabulary.h"
#include "microtome/circuits/heads/attention_scores.h"
#include "microtome/circuits/heads/in_context.h"
#include "microtome/circuits/heads/inhibition.h"
#include "microtome/circuits/heads/movers.h"
#include "microtome/circuits/heads/suppression.h"
#include "microtome/circuits/heads/token_maps.h"
#include "microtome/circuits/heads/verify.h"
#include "planted_models.h"

namespace microtome::heads {
namespace {

constexpr double kThreshold = 0.4;

std::vector<double> column(const AttentionScores& s, Detector d) {
  std::vector<double> out;
  for (const AttentionRow& row : s.mean) out.push_back(row[static_cast<size_t>(d)]);
  return out;
}

size_t first_of(const std::vector<double>& v) { return static_cast<size_t>(std::max_element(v.begin(), v.end()) - v.begin()); }
size_t above(const std::vector<double>& v, double least) {
  return static_cast<size_t>(std::count_if(v.begin(), v.end(), [least](double x) { return x >= least; }));
}

// A beginning-of-text token, then distinct tokens said twice.
ProbeText led_text(const Model& model, uint64_t seed, int64_t block = 20) {
  ProbeText text = random_text(model, {.block = block, .seed = seed, .distinct = true});
  std::vector<int32_t> order(static_cast<size_t>(model.config().vocab - 1));
  std::iota(order.begin(), order.end(), 1);
  const Philox rng(seed, "led text");
  for (size_t i = order.size() - 1; i > 0; --i) std::swap(order[i], order[rng.below(i + 1, i)]);
  text.ids = {0};
  for (int times = 0; times < 2; ++times) text.ids.insert(text.ids.end(), order.begin(), order.begin() + block);
  find_block(text, block);
  return text;
}

TEST(PlantedInduction, predicts_every_token_of_a_repeated_block) {
  const auto model = induction_model().load();
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const ProbeText text = led_text(*model, seed);
    const std::vector<double> losses = token_losses(*model, text.ids);
    for (int64_t i = text.second(); i < text.length() - 1; ++i) EXPECT_LT(losses[i], 1e-3) << i;
    EXPECT_GT(*icl_score({losses}), -20);
    EXPECT_LT(*icl_score({losses}), -1);
  }
}

TEST(PlantedInduction, both_heads_rank_first_and_no_other_is_labelled) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const auto model = induction_model({.seed = seed}, 2, 3).load();
    const auto scores = attention_scores(*model, {{led_text(*model, seed)}}, {});
    const auto previous = column(scores, Detector::kPrevious), induction = column(scores, Detector::kInduction);
    EXPECT_EQ(first_of(previous), 2u);
    EXPECT_EQ(first_of(induction), 7u);
    EXPECT_GT(previous[2], 0.99);
    EXPECT_GT(induction[7], 0.99);
    EXPECT_EQ(above(previous, kThreshold), 1u) << seed;
    EXPECT_EQ(above(induction, kThreshold), 1u) << seed;
    EXPECT_EQ(above(column(scores, Detector::kDuplicate), kThreshold), 0u) << seed;
    EXPECT_EQ(first_of(prefix_matching(*model, {.block = 10, .seed = seed})), 7u);
    // The control text repeats nothing: the induction head has nothing to find there, the previous-token head has.
    const auto control =
        attention_scores(*model, {{control_text(*model, random_text(*model, {.block = 12, .seed = seed}), seed)}}, {});
    EXPECT_LT(column(control, Detector::kInduction)[7], kThreshold);
    EXPECT_GT(column(control, Detector::kPrevious)[2], 0.95);
  }
}

TEST(PlantedDuplicate, ranks_first) {
  PlantedModel m({.layers = 1, .d_head = 72});
  m.wire_ends();
  for (int t = 0; t < 24; ++t) m.at(0, 'Q', 1, m.token(t), t) = 50, m.at(0, 'K', 1, m.token(t), t) = 1;
  for (int p = 0; p < 48; ++p) m.at(0, 'Q', 1, m.position(p), 24 + p) = -50, m.at(0, 'K', 1, m.position(p), 24 + p) = 1;
  for (const int h : {0, 2, 3}) m.noisy_attention(0, h, 0.3f);
  const auto model = m.load();
  const auto duplicate = column(attention_scores(*model, {{led_text(*model, 3)}}, {}), Detector::kDuplicate);
  EXPECT_EQ(first_of(duplicate), 1u);
  EXPECT_GT(duplicate[1], 0.99);
  EXPECT_EQ(above(duplicate, kThreshold), 1u);
}

TEST(PlantedCopying, attended_tokens_are_raised_by_the_copying_head_only) {
  PlantedModel m = induction_model();
  m.wire_copy(0, 2).wire_copy(0, 3, -1);
  const auto model = m.load();
  const auto copying = attended_copying(*model, {.block = 20, .texts = 3});
  EXPECT_GT(copying[2], 0.3);  // its attention is noise: several tokens are raised, the most attended most
  EXPECT_EQ(copying[3], 0);
  // Of itself among the lowest: the head that writes -token.
  const MapScores lowered = suppression_scores(*model, {.lowest = 1});
  EXPECT_EQ(lowered.tokens, 24);
  EXPECT_EQ(lowered.scores[3], 1);
  EXPECT_EQ(first_of(lowered.scores), 3u);
  EXPECT_LT(lowered.scores[2], 0.2);
  for (const double c : lowered.control) EXPECT_LT(c, 0.4);
}

TEST(PlantedMovers, name_mover_negative_mover_and_s_inhibition_are_told_apart) {
  // Tokens: 1 and 2 are names, 9 the last word. "1 2 5 1 9": IO is 2.
  PlantedModel m({.layers = 1, .heads = 4});
  m.wire_ends();
  m.wire_look(0, 0, 9, 2).wire_copy(0, 0);
  m.wire_look(0, 1, 9, 2).wire_copy(0, 1, -1);
  m.noisy_attention(0, 3, 0.1f);
  // Head 2 looks at the token at position 3, S2.
  for (int p = 0; p < 48; ++p) m.at(0, 'Q', 2, m.position(p), 0) = 50;
  m.at(0, 'K', 2, m.position(3), 0) = 1;
  const auto model = m.load();
  TaskExample t;
  t.example = {.clean = {1, 2, 5, 1, 9},
               .corrupted = {1, 2, 5, 2, 9},
               .answers = {2},
               .wrong = {1},
               .positions = {{"S1", 0}, {"IO", 1}, {"S2", 3}, {"END", 4}}};
  const MoverScores s = mover_scores(*model, {t}, true);
  EXPECT_GT(s.name_mover[0], 0.99);
  EXPECT_GT(s.negative_mover[1], 0.99);
  EXPECT_GT(s.s_inhibition[2], 0.99);
  for (const size_t h : {1, 2, 3}) EXPECT_LT(s.name_mover[h], kThreshold);
  for (const size_t h : {0, 2, 3}) EXPECT_LT(s.negative_mover[h], kThreshold);
  for (const size_t h : {0, 1, 3}) EXPECT_LT(s.s_inhibition[h], kThreshold);
  EXPECT_GT(s.dla[0], 0.9);
  EXPECT_LT(s.dla[1], -0.9);
  EXPECT_EQ(s.copy_score[0], 1);
  EXPECT_EQ(s.copy_score_negative[1], 1);
  EXPECT_LT(s.name_mover_control[0], 0.01);
}

TEST(EditedRuns, scores_are_those_of_the_edited_run) {
  const auto model = induction_model().load();
  const ProbeText text = led_text(*model, 1);
  Plan edits;
  edits.edit(zero_edit({SiteKind::kZ, 0}, {.head = Range{0, 1}}));  // the head that the induction head reads
  const auto plain = attention_scores(*model, {{text}}, {}), edited = attention_scores(*model, {{text}}, {.edits = &edits});
  EXPECT_GT(column(plain, Detector::kInduction)[5], 0.99);
  EXPECT_LT(column(edited, Detector::kInduction)[5], 0.1);
  EXPECT_EQ(column(edited, Detector::kPrevious)[0], column(plain, Detector::kPrevious)[0]);
  EXPECT_LT(prefix_matching(*model, {.block = 10, .edits = &edits})[5], 0.2);
  const auto losses = token_losses(*model, text.ids, nullptr, &edits);
  for (int64_t i = text.second(); i < text.length() - 1; ++i) EXPECT_GT(losses[i], 1);
}

TEST(EditedRuns, losses_see_edits_of_the_logits) {
  const auto model = induction_model().load();
  const ProbeText text = led_text(*model, 1);
  Plan edits;
  edits.edit(zero_edit({SiteKind::kLogits, -1}, {}));
  for (const double loss : token_losses(*model, text.ids, nullptr, &edits)) EXPECT_NEAR(loss, std::log(24), 1e-6);
}

// 0.0 predicts the token before; 1.1 attends to what is predicted (or to the token itself) and writes it times `sign`.
std::shared_ptr<const Model> suppressing_model(bool predicted, float sign) {
  PlantedModel m(PlantedShape{});
  m.wire_ends(4).wire_previous(0, 0);
  for (int t = 0; t < 24; ++t) {
    m.at(0, 'O', 0, t, m.previous(t)) = 0;
    m.at(0, 'O', 0, t, m.output(t)) = 1;
    m.at(1, 'Q', 1, predicted ? m.output(t) : m.token(t), t) = 50;
    m.at(1, 'K', 1, m.token(t), t) = 1;
  }
  m.at(0, 'V', 0, m.token(0), 0) = 0;  // the token that begins the text predicts nothing
  return m.wire_copy(1, 1, sign).load();
}

TEST(PlantedSuppression, only_lowering_what_was_predicted_is_explained) {
  const auto explained = [](bool predicted, float sign) {
    const auto model = suppressing_model(predicted, sign);
    ProbeText a = led_text(*model, 1), b = led_text(*model, 2);
    for (ProbeText* t : {&a, &b}) t->ids.resize(20);  // nothing repeats
    const auto r = suppression_explained(*model, {{a, b}}, {{{1, 1}, {0, 1}}}, {});
    EXPECT_GT(r[0].kl_mean, 0.005);
    EXPECT_FALSE(r[1].explained);  // 0.1 writes nothing
    return *r[0].explained;
  };
  EXPECT_GT(explained(true, -0.9f), 0.9);
  EXPECT_LT(explained(true, 0.9f), 0.1);    // moves what is predicted
  EXPECT_LT(explained(false, -0.9f), 0.5);  // lowers the token itself, which nobody predicted
}

// "1 2 5 1 9": IO is 2. 0.1 tells END which token stands at S2; 1.0 looks for the names 1 and 2, but not for that one.
TEST(PlantedInhibition, patching_the_heads_path_turns_the_mover_back_to_s) {
  PlantedModel m({.layers = 2, .heads = 4});
  m.wire_ends();
  for (int p = 0; p < 48; ++p) m.at(0, 'Q', 1, m.position(p), 0) = 50;
  m.at(0, 'K', 1, m.position(3), 0) = 1;
  m.noisy_attention(0, 0, 0.3f).noisy_attention(0, 2, 0.3f).noisy_attention(1, 1, 0.3f);
  for (int t = 0; t < 24; ++t) {
    m.at(0, 'V', 1, m.token(t), t) = m.at(0, 'O', 1, t, m.previous(t)) = 1;
    m.at(1, 'Q', 0, m.token(9), t) = t == 1 || t == 2 ? 20 : 0;
    m.at(1, 'K', 0, m.token(t), t) = 1;
    m.at(1, 'Q', 0, m.previous(t), t) = -20;
  }
  const auto model = m.load();
  TaskExample t;
  t.example = {.clean = {1, 2, 5, 1, 9},
               .corrupted = {1, 2, 5, 2, 9},
               .answers = {2},
               .wrong = {1},
               .positions = {{"S1", 0}, {"IO", 1}, {"S2", 3}, {"END", 4}}};
  t.control = {3, 4, 5, 6, 9};
  const VerifyResult r = verify_inhibition(*model, {t}, {{0, 1}}, {{1, 0}}, {});
  EXPECT_NEAR(r.base, 1, 1e-3);
  EXPECT_NEAR(r.joint.effect, -1.0 / 3 - 1, 1e-3);  // a third each on IO, S1 and S2
  EXPECT_EQ(r.joint.draws, 3);
  EXPECT_NEAR(r.joint.control_mean, 0, 1e-6);
  const VerifyResult two = verify_inhibition(*model, {t}, {{0, 1}, {0, 2}}, {{1, 0}}, {});
  EXPECT_NEAR(two.joint.effect, r.joint.effect, 1e-6);
  EXPECT_NEAR(two.single[1].effect, 0, 1e-6);
  EXPECT_THROW(verify_inhibition(*model, {t}, {{1, 1}}, {{1, 0}}, {}), Error);
}

TEST(Inhibition, equals_the_path_written_out) {
  const auto model = Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models/llama_gqa_tied");
  TaskExample t;
  t.example = {
      .clean = {1, 2, 5, 1, 9}, .answers = {2}, .wrong = {1}, .positions = {{"S1", 0}, {"IO", 1}, {"S2", 3}, {"END", 4}}};
  t.control = {3, 4, 5, 6, 9};
  const int64_t d = model->config().d_model, k = model->config().d_head;
  const HeadId sender{0, 1}, mover{1, 2};
  const Site z{SiteKind::kZ, 0}, stream{SiteKind::kResidPre, 1}, pattern{SiteKind::kPattern, 1};
  const auto host = values_at(*model, t.example.clean, {{z, stream, pattern}}), other = values_at(*model, t.control, {{z}});
  const auto weights = algebra::read_heads(*model, {{sender}});
  Tensor query = Tensor::empty({1, 1, d});
  for (int64_t x = 0; x < d; ++x) {
    query.f32()[x] = host[1].f32()[4 * d + x];
    for (int64_t i = 0; i < k; ++i) {
      const int64_t at = (4 * model->config().n_heads + sender.head) * k + i;
      query.f32()[x] += (other[0].f32()[at] - host[0].f32()[at]) * weights[0].w_o[i * d + x];
    }
  }
  const Edit edit = set_edit({SiteKind::kQInput, 1}, {.pos = Range{4, 5}, .head = Range{2, 3}}, query);
  const auto patched = values_at(*model, t.example.clean, {{pattern}}, {{edit}});
  const auto figure = [](const Tensor& a) {
    const float* row = a.f32() + (2 * 5 + 4) * 5;
    return static_cast<double>(row[1]) - row[0] - row[3];
  };
  const VerifyResult r = verify_inhibition(*model, {t}, {sender}, {mover}, {});
  EXPECT_NEAR(r.base, figure(host[2]), 1e-6);
  EXPECT_NEAR(r.joint.effect, figure(patched[0]) - figure(host[2]), 1e-6);
  EXPECT_GT(std::abs(r.joint.effect), 1e-5);
}

class PlantedVerify : public testing::Test {
 protected:
  PlantedVerify() : model_(induction_model().load()) {
    for (uint64_t seed = 0; seed < 3; ++seed) {
      const ProbeText text = led_text(*model_, seed);
      task_.examples.push_back({.clean = text.ids, .corrupted = text.ids, .loss_from = text.second()});
    }
  }
  std::shared_ptr<const Model> model_;
  VerifyTask task_{.name = "repeated"};
};

TEST_F(PlantedVerify, ablating_the_induction_head_costs_all_and_random_heads_nothing) {
  for (const HeadId head : {HeadId{0, 0}, HeadId{1, 1}}) {
    const VerifyResult r = verify(*model_, task_, {head}, {});
    EXPECT_LT(r.base, 1e-3);
    EXPECT_GT(r.joint.effect, 2);
    EXPECT_NEAR(r.joint.control_mean, 0, 0.05 * r.joint.effect);
    EXPECT_EQ(r.joint.draws, 3);  // the layer has three other heads
    EXPECT_TRUE(r.single.empty());
  }
  const VerifyResult both = verify(*model_, task_, {{0, 0}, {1, 1}}, {.draws = 20});
  EXPECT_EQ(both.joint.draws, 9);
  ASSERT_EQ(both.single.size(), 2u);
  EXPECT_EQ(both.single[0].draws, 6);
}

TEST_F(PlantedVerify, what_an_edit_has_removed_cannot_be_ablated) {
  Plan edits;
  edits.edit(zero_edit({SiteKind::kZ, 1}, {.head = Range{1, 2}}));
  const VerifyResult r = verify(*model_, task_, {{1, 1}}, {.edits = &edits});
  EXPECT_GT(r.base, 2);
  EXPECT_NEAR(r.joint.effect, 0, 1e-6);
}

TEST_F(PlantedVerify, equals_the_ablation_written_out) {
  task_.examples.resize(1);
  const std::vector<int32_t>& ids = task_.examples[0].clean;
  const Tensor z = values_at(*model_, ids, {{{SiteKind::kZ, 1}}})[0];
  const int64_t k = model_->config().d_head, t = z.size(0);
  Tensor mean = Tensor::zeros({k});
  for (int64_t i = 0; i < t; ++i)
    for (int64_t j = 0; j < k; ++j) mean.f32()[j] += z.f32()[(i * 4 + 1) * k + j] / static_cast<float>(t);
  const SweepHost host{.tokens = ids, .positions = task_.metric.positions(task_.examples[0])};
  const Edit edit = set_edit({SiteKind::kZ, 1}, {.head = Range{1, 2}}, mean);
  const double want = task_.metric.value(task_.examples[0], run_alone(*model_, host, {{edit}}));
  const VerifyResult r = verify(*model_, task_, {{1, 1}}, {});
  EXPECT_NEAR(r.base + r.joint.effect, want, 1e-4);
}

// Above the 99.9th percentile of a null of random models lie at most 1 % of as many fresh ones (the largest score of each model).
TEST(RandomModels, are_not_taken_for_circuits) {
  constexpr int kModels = 1000;
  set_num_threads(1);  // so small that handing work over costs more than the work
  const auto largest = [](uint64_t seed) {
    const auto model = random_model(seed);
    const auto scores = attention_scores(*model, {{random_text(*model, {.block = 16, .seed = 1})}}, {});
    std::vector<double> out;
    for (int d = 0; d < kAttentionDetectors; ++d) {
      const auto values = column(scores, static_cast<Detector>(d));
      out.push_back(*std::max_element(values.begin(), values.end()));
    }
    const algebra::Vocabulary vocabulary(*model, algebra::EmbeddingKind::kToken);
    double copying = -1;
    for (const auto& s : algebra::copying(algebra::read_heads(*model), vocabulary.gram_copying()))
      copying = std::max(copying, s.score);
    out.push_back(copying);
    return out;
  };
  std::vector<std::vector<double>> null(kAttentionDetectors + 1);
  for (int i = 0; i < kModels; ++i) {
    const auto values = largest(static_cast<uint64_t>(i));
    for (size_t d = 0; d < values.size(); ++d) null[d].push_back(values[d]);
  }
  std::vector<double> threshold;
  for (std::vector<double>& n : null) {
    std::sort(n.begin(), n.end());
    threshold.push_back(n[static_cast<size_t>(0.999 * kModels) - 1]);
  }
  std::vector<int> hits(threshold.size());
  for (int i = 0; i < kModels; ++i) {
    const auto values = largest(static_cast<uint64_t>(1'000'000 + i));
    for (size_t d = 0; d < values.size(); ++d) hits[d] += values[d] > threshold[d] ? 1 : 0;
  }
  set_num_threads(0);
  for (size_t d = 0; d < hits.size(); ++d) EXPECT_LE(hits[d], kModels / 100) << detectors()[d].name;
  // A planted head lies far above the same null.
  EXPECT_LT(threshold[static_cast<size_t>(Detector::kInduction)], 0.6);
  EXPECT_LT(threshold[static_cast<size_t>(Detector::kPrevious)], 0.6);
}

}  // namespace
}  // namespace microtome::heads
