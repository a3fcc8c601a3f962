// Direct logit attribution: components add up to the logit in every family, and each is what its definition says.
#include "microtome/lens/direct_logit_attribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>

#include "microtome/base/error.h"
#include "microtome/model/capture.h"

namespace microtome {
namespace {

using Kind = LogitComponent::Kind;

const Model& golden(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Model>> models;
  auto& model = models[name];
  if (!model) model = Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
  return *model;
}

const std::vector<int32_t> kIds{5, 17, 3, 60, 8, 17, 2};

class EveryFamily : public testing::TestWithParam<const char*> {};

TEST_P(EveryFamily, components_add_up_to_the_logit_and_to_the_difference) {
  const Model& model = golden(GetParam());
  for (const bool folded : {true, false})
    for (const int32_t versus : {-1, 9})
      for (const int64_t position : {int64_t{-1}, int64_t{0}, int64_t{3}}) {
        const auto a = direct_logit_attribution(model, kIds, {31, versus}, {.position = position, .folded = folded});
        EXPECT_NEAR(a.total, a.logit, 1e-4 * std::max(1.0, std::abs(a.logit)));
        EXPECT_GT(std::abs(a.logit), 1e-3);
      }
}

TEST_P(EveryFamily, the_logit_is_the_forward_passs) {
  const Model& model = golden(GetParam());
  Batch batch;
  batch.add_sequence(kIds);
  const Tensor logits = forward(model, {.batch = batch}).logits.data;
  EXPECT_FLOAT_EQ(direct_logit_attribution(model, kIds, {31}, {}).logit, logits.f32()[31]);
}

// The definition: what a head adds to the stream, put through the frozen final norm by hand.
TEST_P(EveryFamily, a_head_counts_what_it_adds_to_the_final_stream) {
  const Model& model = golden(GetParam());
  const Config& c = model.config();
  const int layer = static_cast<int>(c.n_layers) - 1;
  Plan plan;
  Capture capture(1);
  capture.read(plan, {SiteKind::kResult, layer});
  const bool norm = site_exists({SiteKind::kLnFinalScale, -1}, c);
  if (norm) capture.read(plan, {SiteKind::kLnFinalScale, -1});
  Batch batch;
  batch.add_sequence(kIds);
  forward(model, {.batch = batch, .plan = &plan});
  const Tensor result = capture.array({SiteKind::kResult, layer});  // [1, T, H, D]
  const int64_t t = std::ssize(kIds) - 1, d = c.d_model;
  const double scale = norm ? capture.array({SiteKind::kLnFinalScale, -1}).f32()[t] : 1;
  std::vector<float> column(d);
  unpack(model.weights().unembed.view, 31, 32, 1, 1, column.data());
  const auto a = direct_logit_attribution(model, kIds, {31}, {.folded = false});
  int64_t seen = 0;
  for (const LogitComponent& part : a.components) {
    if (part.kind != Kind::kHead || part.layer != layer) continue;
    const float* x = result.f32() + (t * c.n_heads + part.head) * d;
    double mean = 0, want = 0;
    for (int64_t i = 0; i < d; ++i) mean += x[i] / static_cast<double>(d);
    if (c.norm == NormKind::kRmsNorm || !norm) mean = 0;
    for (int64_t i = 0; i < d; ++i) {
      const auto& gamma = model.weights().final_norm.gamma;
      want += (x[i] - mean) / scale * (gamma.present() ? gamma.data.f32()[i] : 1.0f) * column[i];
    }
    EXPECT_NEAR(part.logit, want, 1e-5 * std::max(1.0, std::abs(want)));
    ++seen;
  }
  EXPECT_EQ(seen, c.n_heads);
}

TEST_P(EveryFamily, neurons_add_up_to_their_mlp) {
  const Model& model = golden(GetParam());
  const Config& c = model.config();
  const auto a = direct_logit_attribution(model, kIds, {31, 9}, {.top_neurons = c.n_layers * std::max<int64_t>(c.d_mlp, 1)});
  std::map<int, double> sum;
  for (const LogitComponent& n : a.neurons) sum[n.layer] += n.logit;
  EXPECT_EQ(std::ssize(a.neurons), c.mlp ? c.n_layers * c.d_mlp : 0);
  for (size_t i = 1; i < a.neurons.size(); ++i) EXPECT_GE(std::abs(a.neurons[i - 1].logit), std::abs(a.neurons[i].logit));
  for (const LogitComponent& part : a.components)
    if (part.kind == Kind::kMlp) {
      EXPECT_NEAR(part.logit, sum[part.layer], 1e-9);
    }
}

INSTANTIATE_TEST_SUITE_P(DirectLogitAttribution, EveryFamily,
                         testing::Values("gpt2", "llama_gqa_tied", "llama3_scaled_bias", "neox_parallel", "neox_serial",
                                         "attn_only_ln", "attn_only_shortformer", "attn_only_rotary"));

// Zeroing z in a folded model equals setting raw z to the folded value bias: then the head counts nothing.
TEST(DirectLogitAttribution, folding_moves_value_biases_to_the_layers_bias) {
  const Model& model = golden("gpt2");
  const auto folded = direct_logit_attribution(model, kIds, {31}, {.folded = true});
  const auto raw = direct_logit_attribution(model, kIds, {31}, {.folded = false});
  double moved = 0, bias = 0, difference = 0;
  ASSERT_EQ(folded.components.size(), raw.components.size());
  for (size_t i = 0; i < raw.components.size(); ++i) {
    const double change = raw.components[i].logit - folded.components[i].logit;
    if (raw.components[i].layer != 0) continue;
    if (raw.components[i].kind == Kind::kHead) {
      moved += change;
      difference = std::max(difference, std::abs(change));
    }
    if (raw.components[i].kind == Kind::kAttentionBias) bias -= change;
  }
  EXPECT_NEAR(moved, bias, 1e-9);
  EXPECT_GT(difference, 1e-4);
}

TEST(DirectLogitAttribution, what_is_not_there_is_refused) {
  const Model& model = golden("gpt2");
  EXPECT_THROW(direct_logit_attribution(model, kIds, {31}, {.position = 7}), Error);
  EXPECT_THROW(direct_logit_attribution(model, kIds, {31}, {.position = -8}), Error);
  EXPECT_THROW(direct_logit_attribution(model, kIds, {static_cast<int32_t>(model.config().vocab)}, {}), Error);
  EXPECT_THROW(direct_logit_attribution(model, kIds, {3, -5}, {}), Error);
}

}  // namespace
}  // namespace microtome
