// The logit lens against the model's own logits and against a definition in double.
#include "microtome/lens/logit_lens.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "microtome/base/rng.h"

namespace microtome {
namespace {

std::shared_ptr<const Model> golden_model(const char* name) {
  return Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
}

Batch random_batch(const Model& model, int64_t n, uint64_t seed) {
  const Philox rng(seed, "test tokens");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  Batch batch;
  batch.add_sequence(ids);
  return batch;
}

// Exponentials within log_sum_exp are f32's.
constexpr double kTolerance = 1e-7;

// ln softmax in double.
std::vector<double> logprobs(const float* logits, int64_t vocab) {
  const double best = *std::max_element(logits, logits + vocab);
  double sum = 0;
  for (int64_t i = 0; i < vocab; ++i) sum += std::exp(logits[i] - best);
  std::vector<double> out;
  for (int64_t i = 0; i < vocab; ++i) out.push_back(logits[i] - best - std::log(sum));
  return out;
}

// What a cell should hold, written as the definition says.
void expect_cell(const LensCell& cell, const float* logits, const float* final_logits, int64_t vocab, int64_t top,
                 int32_t target) {
  const std::vector<double> p = logprobs(logits, vocab), q = logprobs(final_logits, vocab);
  double entropy = 0, kl = 0;
  for (int64_t i = 0; i < vocab; ++i) entropy -= std::exp(p[i]) * p[i], kl += std::exp(q[i]) * (q[i] - p[i]);
  EXPECT_NEAR(cell.entropy, entropy, kTolerance);
  EXPECT_NEAR(cell.kl_to_final, kl, kTolerance * std::max(1.0, kl));
  std::vector<int32_t> order(vocab);
  for (int64_t i = 0; i < vocab; ++i) order[i] = static_cast<int32_t>(i);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  ASSERT_EQ(std::ssize(cell.top), std::min(top, vocab));
  for (size_t i = 0; i < cell.top.size(); ++i) {
    EXPECT_EQ(cell.top[i].id, order[i]);
    EXPECT_NEAR(cell.top[i].logprob, p[order[i]], kTolerance);
  }
  EXPECT_EQ(cell.target, target);
  if (target < 0) return;
  EXPECT_NEAR(cell.target_logprob, p[target], kTolerance);
  EXPECT_EQ(cell.target_rank, std::find(order.begin(), order.end(), target) - order.begin() + 1);
}

const char* const kModels[] = {"gpt2", "llama_gqa_tied", "llama3_scaled_bias", "neox_parallel", "neox_serial", "attn_only_ln"};

TEST(LensPoints, are_each_blocks_entry_and_the_end_and_the_middles_where_there_are_any) {
  const Config serial = golden_model("llama_gqa_tied")->config(), parallel = golden_model("neox_parallel")->config();
  ASSERT_EQ(serial.n_layers, 3);
  EXPECT_EQ(std::ssize(lens_points(serial, true)), 7);
  EXPECT_TRUE(lens_points(serial, true)[1] == (Site{SiteKind::kResidMid, 0}));
  EXPECT_TRUE(lens_points(serial, true).back() == (Site{SiteKind::kResidPost, 2}));
  EXPECT_EQ(std::ssize(lens_points(serial, false)), 4);
  EXPECT_EQ(std::ssize(lens_points(parallel, true)), parallel.n_layers + 1) << "parallel blocks have no stream in the middle";
}

TEST(LogitLens, every_cell_matches_the_definition_in_double) {
  for (const char* name : kModels) {
    const auto model = golden_model(name);
    const int64_t vocab = model->config().vocab;
    const Batch batch = random_batch(*model, 9, 1);
    // The streams, read by a pass of their own.
    const std::vector<Site> points = lens_points(model->config(), true);
    std::vector<Tensor> logits(points.size());
    Plan reads, lens;
    for (size_t p = 0; p < points.size(); ++p)
      reads.read(points[p], [&, p](const SiteValue& v) { logits[p] = unembed(*model, v.data).clone(); });
    reads.logit_rows = LogitRows::kAll;
    forward(*model, {.batch = batch, .plan = &reads});
    LensOptions options{.all_points = true, .top = 4};
    for (int32_t r = 0; r < 9; ++r) options.targets.push_back(r == 3 ? -1 : static_cast<int32_t>(r * 7 % vocab));
    const LensResult result = logit_lens(*model, batch, lens, options);
    ASSERT_EQ(result.cells.size(), points.size() * 9);
    for (size_t p = 0; p < points.size(); ++p)
      for (int64_t r = 0; r < 9; ++r) {
        SCOPED_TRACE(std::string(name) + " " + site_name(points[p]) + " row " + std::to_string(r));
        expect_cell(result.at(p, r), logits[p].f32() + r * vocab, logits.back().f32() + r * vocab, vocab, 4, options.targets[r]);
      }
  }
}

TEST(LogitLens, the_last_point_is_the_models_own_output) {
  for (const char* name : kModels) {
    const auto model = golden_model(name);
    const int64_t vocab = model->config().vocab;
    const Batch batch = random_batch(*model, 6, 2);
    Plan all, lens;
    all.logit_rows = LogitRows::kAll;
    const Tensor logits = forward(*model, {.batch = batch, .plan = &all}).logits.data.clone();
    std::vector<double> lse(6);
    model->context().kernels.log_sum_exp(6, vocab, logits.f32(), lse.data());
    const LensResult result = logit_lens(*model, batch, lens, {.top = vocab, .target_final = true});
    for (int64_t r = 0; r < 6; ++r) {
      const LensCell& cell = result.at(result.points.size() - 1, r);
      for (const LensToken& t : cell.top) EXPECT_EQ(t.logprob, logits.f32()[r * vocab + t.id] - lse[r]) << name;
      EXPECT_EQ(cell.kl_to_final, 0);
      EXPECT_EQ(cell.target_rank, 1);
      EXPECT_EQ(cell.target, cell.top[0].id);
      for (size_t p = 0; p < result.points.size(); ++p) EXPECT_EQ(result.at(p, r).target, cell.target);
    }
  }
}

TEST(LogitLens, chosen_rows_have_the_cells_of_the_whole_and_their_own_targets) {
  const auto model = golden_model("llama_gqa_tied");
  const Batch batch = random_batch(*model, 8, 3);
  LensOptions options{.top = 3};
  for (int32_t r = 0; r < 8; ++r) options.targets.push_back(10 + r);
  Plan whole_plan, some_plan;
  const LensResult whole = logit_lens(*model, batch, whole_plan, options);
  options.rows = {6, 0, 6};
  const LensResult some = logit_lens(*model, batch, some_plan, options);
  EXPECT_EQ(some.rows, options.rows);
  for (size_t p = 0; p < whole.points.size(); ++p)
    for (size_t i = 0; i < 3; ++i) {
      const LensCell &a = some.at(p, i), &b = whole.at(p, options.rows[i]);
      EXPECT_EQ(a.entropy, b.entropy);
      EXPECT_EQ(a.kl_to_final, b.kl_to_final);
      EXPECT_EQ(a.target, 10 + options.rows[i]);
      EXPECT_EQ(a.target_rank, b.target_rank);
      EXPECT_EQ(a.top[2].id, b.top[2].id);
    }
}

// More rows than are held at once, and more than one sequence: rows keep their places.
TEST(LogitLens, many_rows_have_the_cells_of_few) {
  const auto model = golden_model("gpt2");
  Batch batch = random_batch(*model, 45, 4);
  const Batch second = random_batch(*model, 45, 5);
  batch.add_sequence(second.tokens);
  Plan both, alone;
  const LensResult many = logit_lens(*model, batch, both, {.top = 2, .target_final = true});
  const LensResult few = logit_lens(*model, second, alone, {.top = 2, .target_final = true});
  for (size_t p = 0; p < many.points.size(); ++p)
    for (size_t r = 0; r < 45; ++r) {
      EXPECT_EQ(many.at(p, 45 + r).entropy, few.at(p, r).entropy);
      EXPECT_EQ(many.at(p, 45 + r).kl_to_final, few.at(p, r).kl_to_final);
      EXPECT_EQ(many.at(p, 45 + r).target, few.at(p, r).target);
    }
}

TEST(LogitLens, sees_the_plans_edits) {
  const auto model = golden_model("llama_gqa_tied");
  const Batch batch = random_batch(*model, 5, 6);
  Plan plain, edited;
  edited.edit({.site = {SiteKind::kMlpOut, 1}, .op = EditOp::kZero});
  const LensResult before = logit_lens(*model, batch, plain, {}), after = logit_lens(*model, batch, edited, {});
  EXPECT_EQ(before.at(1, 4).entropy, after.at(1, 4).entropy);
  EXPECT_NE(before.at(2, 4).entropy, after.at(2, 4).entropy);
  EXPECT_NE(before.at(3, 4).entropy, after.at(3, 4).entropy);
}

// The same stream at two points ties everything; equal logits within one point come from an unembedding with equal columns, which
// a stream of zeros gives in a model without an output bias.
TEST(LensCells, ties_count_as_better_if_their_id_is_lower) {
  const auto model = golden_model("llama_gqa_tied");
  const Tensor zeros = Tensor::zeros({1, model->config().d_model});
  const int64_t vocab = model->config().vocab;
  const std::vector<LensCell> cells = lens_cells(*model, {zeros, zeros}, {.top = 3}, {40});
  for (const LensCell& cell : cells) {
    EXPECT_EQ(cell.target_rank, 41);
    EXPECT_NEAR(cell.target_logprob, -std::log(vocab), 1e-12);
    EXPECT_NEAR(cell.entropy, std::log(vocab), 1e-12);
    EXPECT_EQ(cell.kl_to_final, 0);
    for (int32_t i = 0; i < 3; ++i) EXPECT_EQ(cell.top[i].id, i);
  }
}

TEST(LensCells, a_stream_that_is_not_a_number_is_shown_as_such) {
  const auto model = golden_model("llama_gqa_tied");
  Tensor good = Tensor::zeros({1, model->config().d_model}), bad = good.clone();
  std::fill_n(bad.f32(), bad.numel(), std::numeric_limits<float>::quiet_NaN());
  const std::vector<LensCell> early = lens_cells(*model, {bad, good}, {.target_final = true}, {-1});
  EXPECT_TRUE(std::isnan(early[0].entropy) && std::isnan(early[0].kl_to_final) && early[0].top.empty());
  EXPECT_EQ(early[1].target, 0);
  const std::vector<LensCell> late = lens_cells(*model, {good, bad}, {.target_final = true}, {-1});
  EXPECT_TRUE(std::isnan(late[0].kl_to_final) && std::isnan(late[1].entropy));
  EXPECT_EQ(late[1].target, -1);
}

TEST(LogitLens, can_be_cancelled) {
  const auto model = golden_model("gpt2");
  Progress progress;
  progress.cancel();
  Plan plan;
  EXPECT_THROW(logit_lens(*model, random_batch(*model, 4, 7), plan, {}, &progress), Error);
}

}  // namespace
}  // namespace microtome
