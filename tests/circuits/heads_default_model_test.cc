// The default model against TransformerLens' detectors (tests/golden/circuits/make_heads.py), and GPT-2 small against published
// scores. Skipped where the models are not there.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "microtome/base/file.h"
#include "microtome/circuits/heads/attention_scores.h"
#include "microtome/formats/npz.h"

namespace microtome::heads {
namespace {

namespace fs = std::filesystem;

TEST(DefaultModelHeads, agree_with_transformer_lens) {
  const fs::path path = data_home() / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(path)) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
  const auto model = Model::load(path);
  const NpzReader golden(fs::path(MICROTOME_TEST_DATA) / "golden/circuits/heads.npz");
  const std::pair<const char*, Detector> detectors[] = {
      {"previous", Detector::kPrevious}, {"duplicate", Detector::kDuplicate}, {"induction", Detector::kInduction}};
  for (const std::string name : {"alice", "repeated"}) {
    const auto ids = golden.read(name + ".tokens").integers();
    ProbeText text{.ids = {ids.begin(), ids.end()}};
    find_block(text, {});
    ASSERT_EQ(text.block, name == "repeated" ? 40 : 0);
    for (const auto& [key, options] : std::vector<std::pair<std::string, ScoreOptions>>{
             {"mul", {.measure = Measure::kMul}},
             {"mul_exclude", {.measure = Measure::kMul, .exclude_bos = true, .exclude_current = true}},
             {"abs", {.measure = Measure::kAbs}},
             {"abs_exclude", {.measure = Measure::kAbs, .exclude_bos = true, .exclude_current = true}},
             {"stripe", {.measure = Measure::kStripe}}}) {
      if (key == "stripe" && text.block == 0) continue;
      const AttentionScores scores = attention_scores(*model, {{text}}, options);
      for (const auto& [detector, d] : detectors) {
        if (key == "stripe" && d == Detector::kInduction) continue;  // a diagonal there begins a row earlier
        const std::vector<float> want = golden.read(name + "." + detector + "." + key).floats();
        ASSERT_EQ(want.size(), scores.mean.size());
        for (size_t i = 0; i < want.size(); ++i)
          EXPECT_NEAR(scores.mean[i][static_cast<size_t>(d)], want[i], 1e-3)
              << name << " " << detector << " " << key << " head " << i;
      }
    }
  }
}

// Check D5 of the circuits specification.
TEST(Gpt2Heads, have_their_known_scores) {
  const fs::path path = data_home() / "models/gpt2";
  if (!fs::exists(path)) GTEST_SKIP() << "GPT-2 small is not there";
  const auto model = Model::load(path);
  const ProbeText text = random_text(*model, {.block = 100, .trim = 0.05});
  const AttentionScores s = attention_scores(*model, {{text}}, {});
  const auto score = [&](Detector d, int layer, int head) { return s.mean[layer * 12 + head][static_cast<size_t>(d)]; };
  EXPECT_NEAR(score(Detector::kInduction, 5, 1), 0.931, 0.03);
  EXPECT_NEAR(score(Detector::kInduction, 6, 9), 0.926, 0.03);
  EXPECT_NEAR(score(Detector::kInduction, 5, 5), 0.926, 0.03);
  EXPECT_NEAR(score(Detector::kInduction, 7, 10), 0.904, 0.03);
  EXPECT_NEAR(score(Detector::kInduction, 7, 2), 0.851, 0.03);
  EXPECT_NEAR(score(Detector::kPrevious, 4, 11), 0.992, 0.03);
}

}  // namespace
}  // namespace microtome::heads
