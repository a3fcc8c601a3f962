// Gradients against central differences through edits, and the identities that hold between sites.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "microtome/api/commands.h"
#include "microtome/base/rng.h"
#include "microtome/model/capture.h"
#include "microtome/model/loss.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

class Differences : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    model_ = Model::load(fs::path(MICROTOME_TEST_DATA) / "golden/models" / GetParam());
    const Philox rng(11, "test tokens");
    for (int64_t s = 0; s < 2; ++s)
      for (int64_t i = 0; i < 9 - 2 * s; ++i)
        prompts_[s].push_back(static_cast<int32_t>(rng.below(model_->config().vocab, i, s)));
    for (const auto& p : prompts_) batch_.add_sequence(p);
  }

  // A second edit, upstream of most sites, so that the gradient passes through one.
  static Edit background(EditOp op) {
    Edit e;
    e.site = {SiteKind::kZ, 1};
    e.where.head = Range{1, 2};
    e.op = op;
    e.factor = 0.7f;
    return e;
  }

  double loss(Plan& plan) const {
    plan.logit_rows = LogitRows::kAll;
    return next_token_loss(*model_, batch_, forward(*model_, {.batch = batch_, .plan = &plan}), nullptr);
  }

  Tensor gradient(Site site, EditOp op, Tensor& value) const {
    Plan plan;
    plan.edit(background(op));
    Capture capture(2);
    capture.read(plan, site);
    capture.gradient(plan, site);
    plan.logit_rows = LogitRows::kAll;
    Tape tape(model_->context());
    const Forward f = forward(*model_, {.batch = batch_, .plan = &plan, .tape = &tape});
    next_token_loss(*model_, batch_, f, &tape);
    value = capture.array(site);
    return capture.gradient_array(site);
  }

  std::shared_ptr<const Model> model_;
  std::vector<int32_t> prompts_[2];
  Batch batch_;
};

TEST_P(Differences, gradient_at_every_site_agrees_with_central_differences_through_an_edit) {
  for (const EditOp op : {EditOp::kScale, EditOp::kMean}) {
    for (const Site& site : all_sites(model_->config())) {
      Tensor value;
      const Tensor g = gradient(site, op, value);
      double norm = 0;
      for (int64_t i = 0; i < g.numel(); ++i) norm += static_cast<double>(g.f32()[i]) * g.f32()[i];
      norm = std::sqrt(norm);
      if (norm < 1e-7) continue;
      // Along the gradient itself: the difference quotient is the gradient's norm.
      Tensor direction = Tensor::empty(g.shape());
      for (int64_t i = 0; i < g.numel(); ++i) direction.f32()[i] = static_cast<float>(g.f32()[i] / norm);
      double scale = 0;
      for (int64_t i = 0; i < value.numel(); ++i)
        if (std::isfinite(value.f32()[i])) scale += static_cast<double>(value.f32()[i]) * value.f32()[i];
      const double h = std::min(0.02 * std::sqrt(scale), 0.02 / norm);
      const auto shifted = [&](double step) {
        Plan plan;
        plan.edit(background(op));
        Edit e;
        e.site = site;
        e.op = EditOp::kAdd;
        e.value = direction;
        e.factor = static_cast<float>(step);
        plan.edit(e);
        return loss(plan);
      };
      const double quotient = (shifted(h) - shifted(-h)) / (2 * h);
      EXPECT_NEAR(quotient, norm, 1e-2 * norm + 2e-6 / h)
          << site_name(site) << " through " << (op == EditOp::kScale ? "scale" : "mean") << ", h " << h;
    }
  }
}

// |a - b| <= 1e-5 max(1, largest term).
void expect_sum(const std::vector<double>& sum, const Tensor& want, double largest, const std::string& what) {
  for (size_t i = 0; i < sum.size(); ++i)
    ASSERT_NEAR(sum[i], want.f32()[i], 1e-5 * std::max(1.0, largest)) << what << " at " << i;
}

TEST_P(Differences, components_add_up_to_the_stream_and_heads_to_attention) {
  const Config& c = model_->config();
  Plan plan;
  Capture capture(2);
  for (const Site& s : all_sites(c)) capture.read(plan, s);
  forward(*model_, {.batch = batch_, .plan = &plan});
  for (int l = 0; l < c.n_layers; ++l) {
    const auto at = [&](SiteKind kind) { return capture.array({kind, l}); };
    const Tensor pre = at(SiteKind::kResidPre), attn = at(SiteKind::kAttnOut), post = at(SiteKind::kResidPost),
                 result = at(SiteKind::kResult);
    double largest = 0;
    std::vector<double> stream(pre.numel()), heads(pre.numel());
    const Vector& b_o = model_->weights().layers[l].b_o;
    for (int64_t i = 0; i < pre.numel(); ++i) {
      stream[i] = static_cast<double>(pre.f32()[i]) + attn.f32()[i];
      if (c.mlp) stream[i] += at(SiteKind::kMlpOut).f32()[i];
      largest = std::max({largest, std::abs(static_cast<double>(pre.f32()[i])), std::abs(static_cast<double>(post.f32()[i]))});
      const int64_t row = i / c.d_model, d = i % c.d_model;
      for (int64_t h = 0; h < c.n_heads; ++h) heads[i] += result.f32()[(row * c.n_heads + h) * c.d_model + d];
      // Padding has no bias.
      const bool real = row < 9 || row % 9 < 7;
      if (b_o.present() && real) heads[i] += b_o.data.f32()[d];
    }
    expect_sum(stream, post, largest, "stream of layer " + std::to_string(l));
    expect_sum(heads, attn, largest, "heads of layer " + std::to_string(l));
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Differences,
                         testing::Values("llama_gqa_tied", "llama3_scaled_bias", "gpt2", "neox_parallel", "neox_serial",
                                         "attn_only_ln", "attn_only_shortformer", "attn_only_rotary"));

}  // namespace
}  // namespace microtome
