// Path expansion: all paths add up to the logits, each is linear in what it begins with, and orders are those of runs whose head
// outputs are replaced by the run before.
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "microtome/base/error.h"
#include "microtome/circuits/paths/expansion.h"
#include "microtome/model/loss.h"
#include "paths_support.h"

namespace microtome {
namespace {

using algebra::HeadId;

using paths_support::deep_model;
using paths_support::golden;

const std::vector<int32_t> kIds{5, 17, 3, 60, 8, 17, 2};

PathExpansion expand(const Model& model, LogitDirection direction, int64_t position, const std::vector<int32_t>& ids = kIds) {
  std::vector<int32_t> columns{direction.target};
  if (direction.versus != -1) columns.push_back(direction.versus);
  return expand_paths(model, freeze(model, ids, columns), direction, position);
}

class AttentionOnly : public testing::TestWithParam<const char*> {};

TEST_P(AttentionOnly, paths_add_up_to_the_logits) {
  const Model& model = golden(GetParam());
  for (int32_t target = 0; target < model.config().vocab; target += 31)
    for (const int64_t position : {int64_t{0}, int64_t{3}, int64_t{6}}) {
      const PathExpansion one = expand(model, {target}, position), two = expand(model, {target, target + 1}, position);
      EXPECT_NEAR(one.total, one.logit, 1e-4 * std::max(1.0, std::abs(one.logit)));
      EXPECT_NEAR(two.total, two.logit, 1e-4 * std::max(1.0, std::abs(two.logit)));
    }
}
INSTANTIATE_TEST_SUITE_P(Paths, AttentionOnly, testing::Values("attn_only_ln", "attn_only_shortformer", "attn_only_rotary"));

TEST(Paths, in_deeper_models_the_listed_paths_and_the_rest_add_up) {
  for (const char* norm : {"LN", "LNPre", ""})
    for (const int layers : {1, 2, 3, 4}) {
      const auto model = deep_model(layers, norm);
      const PathExpansion e = expand(*model, {31, 9}, 6);
      EXPECT_NEAR(e.total, e.logit, 1e-4 * std::max(1.0, std::abs(e.logit))) << layers << norm;
      EXPECT_EQ(e.terms.back().source == "order >= 3", layers > 2);
      ASSERT_EQ(std::ssize(e.order_logits), layers + 1);
    }
}

TEST(Paths, paths_of_an_order_add_up_to_that_order) {
  const auto model = deep_model(4);
  const PathExpansion e = expand(*model, {31, 9}, 6);
  std::vector<double> sum(3, 0.0);
  for (const PathTerm& t : e.terms)
    if (t.source != "order >= 3") sum[t.order()] += t.logit;
  for (size_t n = 0; n < 3; ++n) EXPECT_NEAR(sum[n], e.order_logits[n], 1e-6) << n;
}

TEST(Paths, every_pair_of_heads_in_different_layers_is_there) {
  const auto model = deep_model(3);
  const PathExpansion e = expand(*model, {31}, 6);
  std::map<std::string, int> pairs;
  for (const PathTerm& t : e.terms)
    if (t.order() == 2 && t.source == "token") ++pairs[t.name()];
  EXPECT_EQ(pairs.size(), 3u * 9);
  EXPECT_EQ(pairs.count("token -> a0.h2 -> a2.h1"), 1u);
  EXPECT_EQ(pairs.count("token -> a2.h1 -> a0.h2"), 0u);
}

// The definition of one path, slowly: A2 A1 (x W_V1 W_O1 W_V2 W_O2) g over the frozen scales.
TEST(Paths, a_pair_of_heads_is_the_product_of_its_maps) {
  const auto model = deep_model(3);
  const FrozenRun run = freeze(*model, kIds, {31});
  const PathExpansion e = expand_paths(*model, run, {31}, 6);
  const StreamDirection g = stream_direction(*model, {31}, run.final_scale[6]);
  const int64_t n = run.length, d = run.d;
  const auto through = [&](int64_t layer, int64_t head, const std::vector<double>& x) {
    const auto& w = run.head(layer, head);
    std::vector<double> out(n * d, 0.0);
    for (int64_t q = 0; q < n; ++q)
      for (int64_t s = 0; s < n; ++s) {
        double mean = 0;
        for (int64_t i = 0; i < d; ++i) mean += x[s * d + i] / static_cast<double>(d);
        for (int64_t k = 0; k < w.k; ++k) {
          double v = 0;
          for (int64_t i = 0; i < d; ++i) v += (x[s * d + i] - mean) / run.scale[layer][s] * w.w_v[i * w.k + k];
          const double z = run.pattern[layer].f32()[(head * n + q) * n + s] * v;
          for (int64_t i = 0; i < d; ++i) out[q * d + i] += z * w.w_o[k * d + i];
        }
      }
    return out;
  };
  const std::vector<double> token(run.token.f32(), run.token.f32() + n * d);
  const std::vector<double> stream = through(2, 0, through(1, 2, token));
  double want = 0;
  for (int64_t i = 0; i < d; ++i) want += stream[6 * d + i] * g.weight[i];
  for (const PathTerm& t : e.terms)
    if (t.name() == "token -> a1.h2 -> a2.h0") {
      EXPECT_NEAR(t.logit, want, 1e-7);
      want = NAN;
    }
  EXPECT_TRUE(std::isnan(want)) << "the path is not listed";
}

TEST(Paths, paths_from_tokens_are_linear_in_them) {
  const auto model = deep_model(3);
  FrozenRun run = freeze(*model, kIds, {31});
  const PathExpansion once = expand_paths(*model, run, {31}, 6);
  run.token = run.token.clone();
  for (int64_t i = 0; i < run.token.numel(); ++i) run.token.f32()[i] *= 3;
  const PathExpansion thrice = expand_paths(*model, run, {31}, 6);
  int64_t tokens = 0;
  for (size_t i = 0; i < once.terms.size(); ++i) {
    if (once.terms[i].source.starts_with("order")) continue;
    const bool token = once.terms[i].source == "token";
    EXPECT_NEAR(thrice.terms[i].logit, (token ? 3 : 1) * once.terms[i].logit, 1e-6 * (1 + std::abs(once.terms[i].logit)));
    tokens += token;
  }
  EXPECT_EQ(tokens, 1 + 9 + 27);
}

// Elhage et al.: run n freezes patterns (and scales), replaces each head's output by that of run n - 1, and keeps the new one.
TEST(Paths, losses_by_order_are_those_of_runs_with_replaced_head_outputs) {
  const auto model = deep_model(3);
  const Config& c = model->config();
  const FrozenRun run = freeze(*model, kIds, {});
  const std::vector<double> losses = order_losses(*model, run, stream_orders(run));
  ASSERT_EQ(losses.size(), 4u);
  const int64_t n = std::ssize(kIds);
  std::vector<std::vector<float>> saved(c.n_layers, std::vector<float>(n * c.n_heads * c.d_head, 0.0f));
  for (int64_t order = 0; order <= c.n_layers; ++order) {
    auto next = saved;
    Plan plan;
    const auto freeze_scale = [&](Site site, const std::vector<double>& scale) {
      std::vector<float> values(scale.begin(), scale.end());
      plan.edit({.site = site, .op = EditOp::kSet, .value = Tensor::from(values, {n, 1})});
    };
    for (int l = 0; l < c.n_layers; ++l) {
      freeze_scale({SiteKind::kLn1Scale, l}, run.scale[l]);
      plan.edit({.site = {SiteKind::kPattern, l}, .op = EditOp::kSet, .value = run.pattern[l]});
      Edit swap{.site = {SiteKind::kZ, l}, .op = EditOp::kCustom};
      swap.custom = [&next, &saved, l](SiteValue& v) {
        std::copy_n(v.data.f32(), v.data.numel(), next[l].data());
        std::copy(saved[l].begin(), saved[l].end(), v.data.f32());
      };
      plan.edit(std::move(swap));
    }
    freeze_scale({SiteKind::kLnFinalScale, -1}, run.final_scale);
    plan.logit_rows = LogitRows::kAll;
    Batch batch;
    batch.add_sequence(kIds);
    const Forward result = forward(*model, {.batch = batch, .plan = &plan});
    EXPECT_NEAR(next_token_loss(*model, batch, result, nullptr), losses[order], 1e-4) << "order " << order;
    saved = next;
  }
  Batch batch;
  batch.add_sequence(kIds);
  Plan plan;
  plan.logit_rows = LogitRows::kAll;
  const Forward whole = forward(*model, {.batch = batch, .plan = &plan});
  EXPECT_NEAR(losses.back(), next_token_loss(*model, batch, whole, nullptr), 1e-4);
  EXPECT_GT(std::abs(losses[0] - losses[3]), 1e-2);
}

TEST(Paths, a_model_with_mlps_has_no_paths_and_the_reason_is_said) {
  try {
    freeze(golden("gpt2"), kIds, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(std::string(e.what()).find("attention-only"), std::string::npos);
  }
}

}  // namespace
}  // namespace microtome
