// Attention scores: the fused statistics against patterns, the definitions written out, and numbers known in advance.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "microtome/base/error.h"
#include "microtome/circuits/heads/attention_scores.h"
#include "microtome/circuits/sweep.h"
#include "planted_models.h"

namespace microtome::heads {
namespace {

std::shared_ptr<const Model> golden(const std::string& name) {
  return Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
}

// The definitions as section 5 of the circuits specification writes them, with whole matrices.
struct Written {
  std::vector<double> a;  // [T, T]
  std::vector<int32_t> ids;
  int64_t t = 0;

  std::vector<double> target(Detector d) const {
    std::vector<double> p(static_cast<size_t>(t * t));
    const auto dup = [&](int64_t i, int64_t j) { return j >= 0 && j < i && ids[i] == ids[j]; };
    for (int64_t i = 0; i < t; ++i)
      for (int64_t j = 0; j <= i; ++j) {
        bool one = false;
        if (d == Detector::kPrevious) one = j == i - 1;
        if (d == Detector::kCurrent) one = j == i;
        if (d == Detector::kDuplicate) one = dup(i, j);
        if (d == Detector::kInduction) one = j > 0 && dup(i, j - 1);
        p[i * t + j] = one ? 1 : 0;
      }
    return p;
  }
  double mul(Detector d, bool bos, bool current) const {
    std::vector<double> copy = a;
    for (int64_t i = 0; i < t; ++i) {
      if (bos) copy[i * t] = 0;
      if (current) copy[i * t + i] = 0;
    }
    const std::vector<double> p = target(d);
    double on = 0, all = 0;
    for (size_t i = 0; i < copy.size(); ++i) on += copy[i] * p[i], all += copy[i];
    return on / all;
  }
  double abs(Detector d, bool bos, bool current) const {
    const std::vector<double> p = target(d);
    double sum = 0;
    for (int64_t i = 0; i < t; ++i)
      for (int64_t j = 0; j < t; ++j)
        if (!(bos && j == 0) && !(current && i == j)) sum += std::abs(a[i * t + j] - p[i * t + j]);
    return 1 - static_cast<double>(t) * sum / static_cast<double>(t * t);
  }
  double stripe(Detector d, int64_t n) const {
    double sum = 0, cells = 0;
    for (int64_t i = 0; i < t; ++i) {
      int64_t j = -1;
      if (d == Detector::kPrevious) j = i - 1;
      if (d == Detector::kCurrent) j = i;
      if (d == Detector::kDuplicate && i >= n) j = i - n;
      if (d == Detector::kInduction && i >= n) j = i - n + 1;
      if (j >= 0) sum += a[i * t + j], cells += 1;
    }
    return sum / cells;
  }
};

Written written(const Tensor& pattern, int64_t head, const ProbeText& text) {
  Written w{.ids = text.ids, .t = text.length()};
  const float* from = pattern.f32() + head * w.t * w.t;
  w.a.assign(from, from + w.t * w.t);
  return w;
}

constexpr Detector kTargets[] = {Detector::kPrevious, Detector::kCurrent, Detector::kDuplicate, Detector::kInduction};

TEST(HeadScores, fused_equal_the_definitions_on_stored_patterns_in_every_family) {
  for (const char* family : {"gpt2", "llama_gqa_tied", "neox_parallel", "attn_only_ln", "attn_only_rotary"}) {
    const auto model = golden(family);
    ProbeText text = random_text(*model, {.block = 9});
    text.ids[3] = text.ids[12] = text.ids[1];  // also repeats within a block
    text.ids[10] = text.ids[1];
    find_block(text, 9);
    for (const Measure measure : {Measure::kMul, Measure::kAbs, Measure::kStripe})
      for (const int exclude : {0, 1, 2, 3}) {
        const ScoreOptions o{.measure = measure, .exclude_bos = (exclude & 1) != 0, .exclude_current = (exclude & 2) != 0};
        const AttentionScores fused = attention_scores(*model, {{text}}, o);
        for (int layer = 0; layer < model->config().n_layers; ++layer) {
          const Tensor pattern = values_at(*model, text.ids, {{{SiteKind::kPattern, layer}}})[0];
          const auto slow = attention_scores(pattern, text, o);
          for (int64_t h = 0; h < model->config().n_heads; ++h) {
            const Written w = written(pattern, h, text);
            const AttentionRow& row = fused.mean[layer * model->config().n_heads + h];
            for (const Detector d : kTargets) {
              const auto at = static_cast<size_t>(d);
              const double want = measure == Measure::kMul   ? w.mul(d, o.exclude_bos, o.exclude_current)
                                  : measure == Measure::kAbs ? w.abs(d, o.exclude_bos, o.exclude_current)
                                                             : w.stripe(d, 9);
              EXPECT_NEAR(row[at], want, 1e-6)
                  << family << " " << measure_name(measure) << exclude << " " << detector_info(d).name;
              EXPECT_NEAR(slow[h][at], want, 1e-6) << family << " from the pattern";
            }
            double sink = 0;
            for (int64_t i = 0; i < w.t; ++i) sink += w.a[i * w.t] / static_cast<double>(w.t);
            EXPECT_NEAR(row[static_cast<size_t>(Detector::kSink)], sink, 1e-6) << family;
          }
        }
      }
  }
}

TEST(HeadScores, uniform_attention_over_ten_tokens_has_the_known_scores) {
  ProbeText text{.ids = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
  Tensor a = Tensor::zeros({1, 10, 10});
  for (int64_t i = 0; i < 10; ++i)
    for (int64_t j = 0; j <= i; ++j) a.f32()[i * 10 + j] = 1.0f / static_cast<float>(i + 1);
  EXPECT_NEAR(attention_scores(a, text, {.measure = Measure::kMul})[0][0], 0.192897, 1e-6);
  EXPECT_NEAR(attention_scores(a, text, {.measure = Measure::kAbs})[0][0], -0.514, 5e-4);
  EXPECT_NEAR(uniform_scores(text, {.measure = Measure::kMul})[0], 0.192897, 1e-6);
}

TEST(HeadScores, exclusions_leave_the_callers_pattern_alone) {
  const auto model = golden("gpt2");
  const ProbeText text = random_text(*model, {.block = 8});
  const Tensor pattern = values_at(*model, text.ids, {{{SiteKind::kPattern, 0}}})[0], before = pattern.clone();
  attention_scores(pattern, text, {.measure = Measure::kMul, .exclude_bos = true, .exclude_current = true});
  attention_scores(pattern, text, {.measure = Measure::kAbs, .exclude_bos = true, .exclude_current = true});
  for (int64_t i = 0; i < pattern.numel(); ++i) ASSERT_EQ(pattern.f32()[i], before.f32()[i]);
}

TEST(HeadScores, several_texts_are_scored_alone_and_averaged) {
  const auto model = golden("llama_gqa_tied");
  const std::vector<ProbeText> texts{random_text(*model, {.block = 5, .index = 0}),
                                     random_text(*model, {.block = 11, .index = 1})};
  const ScoreOptions o{.measure = Measure::kMul, .exclude_bos = true};
  const auto both = attention_scores(*model, texts, o), a = attention_scores(*model, {{texts[0]}}, o),
             b = attention_scores(*model, {{texts[1]}}, o);
  for (size_t i = 0; i < both.mean.size(); ++i)
    for (size_t d = 0; d < both.mean[i].size(); ++d) EXPECT_NEAR(both.mean[i][d], (a.mean[i][d] + b.mean[i][d]) / 2, 1e-12);
}

TEST(HeadScores, entropy_is_that_of_the_pattern) {
  const auto model = golden("gpt2");
  const ProbeText text = random_text(*model, {.block = 8});
  const auto scores = attention_scores(*model, {{text}}, {}, nullptr, true);
  const Tensor pattern = values_at(*model, text.ids, {{{SiteKind::kPattern, 1}}})[0];
  for (int64_t h = 0; h < model->config().n_heads; ++h) {
    double sum = 0;
    for (const double p : written(pattern, h, text).a) sum -= p > 0 ? p * std::log(p) : 0;
    EXPECT_NEAR(scores.entropy[model->config().n_heads + h], sum / 16, 1e-5);
  }
}

TEST(HeadScores, the_pass_sees_edits_of_the_pattern) {
  const auto model = golden("gpt2");
  const std::vector<int32_t> ids{1, 2, 3, 4};
  auto lists = std::make_shared<KeyLists>(1);
  for (int32_t i = 0; i < 4; ++i) lists->add_row({{0}});
  const int64_t heads = model->config().n_heads;
  Plan plan;
  plan.edit(zero_edit({SiteKind::kPattern, 0}, {.head = Range{1, 2}}));
  plan.attention_mass(lists, [&](int layer, std::span<const double> mass) {
    if (layer != 0) return;
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(mass[i * heads + 1], 0);
      EXPECT_GT(mass[i * heads], 0);
    }
  });
  Batch batch;
  batch.add_sequence(ids);
  forward(*model, {.batch = batch, .plan = &plan});
}

TEST(HeadScores, stripe_needs_text_that_repeats) {
  const ProbeText text{.ids = {1, 2, 3, 4, 5}};
  const Tensor a = Tensor::zeros({1, 5, 5});
  EXPECT_THROW(attention_scores(a, text, {.measure = Measure::kStripe}), Error);
  EXPECT_NO_THROW(attention_scores(a, text, {.measure = Measure::kStripe}, true));
}

TEST(ProbeTexts, blocks_are_found_with_and_without_a_token_before) {
  ProbeText plain{.ids = {5, 6, 7, 5, 6, 7, 5}}, led{.ids = {9, 5, 6, 7, 5, 6, 7}}, none{.ids = {1, 2, 3, 4, 5, 1}};
  find_block(plain, {});
  EXPECT_EQ(plain.block, 3);
  EXPECT_EQ(plain.start, 0);
  find_block(led, {});
  EXPECT_EQ(led.block, 3);
  EXPECT_EQ(led.start, 1);
  find_block(none, {});
  EXPECT_EQ(none.block, 0);
  try {
    find_block(none, 3);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("position 0 has token 1, position 3 has 4"), std::string::npos) << e.what();
  }
}

TEST(ProbeTexts, the_same_seed_makes_the_same_text_and_another_does_not) {
  const auto model = golden("gpt2");
  const auto a = random_text(*model, {.block = 10, .seed = 1}), b = random_text(*model, {.block = 10, .seed = 1}),
             c = random_text(*model, {.block = 10, .seed = 2});
  EXPECT_EQ(a.ids, b.ids);
  EXPECT_NE(a.ids, c.ids);
  EXPECT_TRUE(std::equal(a.ids.begin(), a.ids.begin() + 10, a.ids.begin() + 10));
  const ProbeText control = control_text(*model, a, 1);
  EXPECT_EQ(control.ids, a.ids);
  EXPECT_NE(control.run_as, a.ids);
}

}  // namespace
}  // namespace microtome::heads
