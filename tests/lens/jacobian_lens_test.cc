// The Jacobian lens against a Jacobian made one derivative at a time, and against what it must do on planted models.
#include "microtome/lens/jacobian_lens.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "microtome/base/rng.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

std::shared_ptr<const Model> golden_model(const char* name) {
  return Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
}

std::vector<int32_t> random_prompt(const Model& model, int64_t n, uint64_t seed) {
  const Philox rng(seed, "test prompt");
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(rng.below(model.config().vocab, i)));
  return ids;
}

// J_l[i][j] = 1/|S| sum over t in S, t' in S, t' >= t of d final[t'][i] / d resid_post_l[t][j]: a whole forward and backward
// for each t' and i, nothing shared, no cache, no copies.
std::vector<std::vector<double>> brute_force(const Model& model, const std::vector<int32_t>& prompt, int64_t skip) {
  const Config& c = model.config();
  const int64_t d = c.d_model, end = std::ssize(prompt) - 1;
  std::vector<std::vector<double>> j(c.n_layers, std::vector<double>(d * d, 0.0));
  for (int64_t to = skip; to < end; ++to)
    for (int64_t i = 0; i < d; ++i) {
      Tape tape(model.context());
      Plan plan;
      plan.logit_rows = LogitRows::kNone;
      for (int l = 0; l < c.n_layers; ++l)
        plan.gradient({SiteKind::kResidPost, l}, [&, l](const SiteValue& v) {
          for (int64_t from = skip; from <= to; ++from)
            for (int64_t k = 0; k < d; ++k) j[l][i * d + k] += v.data.f32()[from * d + k] / static_cast<double>(end - skip);
        });
      Batch batch;
      batch.add_sequence(prompt);
      const Value in =
          tape.leaf(call<Embedding>(nullptr, model.context(), {model.weights().embed.view, batch.tokens}, Value()).data);
      const Forward out = forward(model, {.batch = batch, .plan = &plan, .tape = &tape, .residual = in});
      Tensor seed = Tensor::zeros({batch.rows(), d});
      seed.f32()[to * d + i] = 1;
      tape.backward(out.residual, seed);
    }
  return j;
}

double largest_difference(const std::vector<double>& a, const Tensor& delta) {
  const int64_t d = delta.size(0);
  double most = 0;
  for (int64_t i = 0; i < d * d; ++i) most = std::max(most, std::abs(a[i] - delta.f32()[i] - (i % (d + 1) == 0 ? 1.0 : 0.0)));
  return most;
}

TEST(JacobianLens, equals_the_jacobian_made_one_derivative_at_a_time) {
  const auto model = golden_model("llama_gqa_tied");
  ASSERT_EQ(model->config().n_layers, 3);
  const auto prompt = random_prompt(*model, 11, 1);
  for (const int64_t skip : {0, 4}) {
    const auto expected = brute_force(*model, prompt, skip);
    for (const int64_t rows : {1, 40, 4096}) {
      JacobianSum sum(model->config());
      sum.add(*model, prompt, {.skip = skip, .rows_at_once = rows});
      const FittedLens lens = sum.lens();
      ASSERT_EQ(lens.layers.size(), 2u);
      for (int l = 0; l < 2; ++l) EXPECT_LE(largest_difference(expected[l], lens.layers[l].delta), 1e-5) << l << " " << skip;
    }
    // Attention between positions counts: the part from t' > t alone is far above the tolerance.
    const Tensor zeros = Tensor::zeros({32, 32});
    EXPECT_LE(largest_difference(expected[2], zeros), 1e-6) << "the last block's is the identity";
    EXPECT_GT(largest_difference(expected[0], zeros), 1e-2);
  }
}

// Without positions that see each other nothing is left of the later terms: a control that they are in the sum.
TEST(JacobianLens, later_positions_are_counted) {
  const auto model = golden_model("llama_gqa_tied");
  const auto prompt = random_prompt(*model, 11, 1);
  const auto expected = brute_force(*model, prompt, 4);
  std::vector<double> alone(32 * 32, 0.0);
  for (int64_t t = 4; t < 10; ++t) {  // S = {t}: the same prompt, cut behind it
    const auto own = brute_force(*model, {prompt.begin(), prompt.begin() + t + 2}, t);
    for (size_t i = 0; i < alone.size(); ++i) alone[i] += own[0][i] / 6;
  }
  double most = 0;
  for (size_t i = 0; i < alone.size(); ++i) most = std::max(most, std::abs(alone[i] - expected[0][i]));
  EXPECT_GT(most, 1e-3);
}

TEST(JacobianLens, two_halves_merged_are_one_fit) {
  const auto model = golden_model("neox_parallel");
  JacobianSum all(model->config()), first(model->config()), second(model->config());
  for (uint64_t i = 0; i < 5; ++i) {
    const auto prompt = random_prompt(*model, 20 + static_cast<int64_t>(i), i);
    all.add(*model, prompt, {.skip = 3});
    (i < 2 ? first : second).add(*model, prompt, {.skip = 3});
  }
  first.merge(second);
  EXPECT_EQ(first.prompts(), 5);
  const FittedLens a = all.lens(), b = first.lens();
  for (size_t l = 0; l < a.layers.size(); ++l)
    for (int64_t i = 0; i < a.layers[l].delta.numel(); ++i)
      EXPECT_NEAR(a.layers[l].delta.f32()[i], b.layers[l].delta.f32()[i], 1e-6);
}

// Rounding products to bf16 moves the map by its relative error, not more.
TEST(JacobianLens, in_bf16_is_close_to_f32) {
  const auto model = golden_model("llama_gqa_tied");
  const auto prompt = random_prompt(*model, 40, 1);
  JacobianSum exact(model->config()), rounded(model->config());
  exact.add(*model, prompt, {.skip = 4});
  rounded.add(*model, prompt, {.skip = 4, .bf16 = true});
  double error = 0, size = 0;
  for (size_t i = 0; i < exact.sum(0).size(); ++i) {
    error += std::pow(exact.sum(0)[i] - rounded.sum(0)[i], 2);
    size += std::pow(exact.sum(0)[i], 2);
  }
  EXPECT_GT(error, 0) << "bf16 was used";
  EXPECT_LT(std::sqrt(error / size), 1e-2);
}

TEST(JacobianLens, refuses_prompts_with_nothing_to_differentiate) {
  const auto model = golden_model("gpt2");
  JacobianSum sum(model->config());
  EXPECT_THROW(sum.add(*model, random_prompt(*model, 17, 1), {}), Error);
  EXPECT_EQ(sum.prompts(), 0);
}

}  // namespace
}  // namespace microtome
