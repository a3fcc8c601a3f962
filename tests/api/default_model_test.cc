// The default model against transformers on its dequantised weights (tests/golden/models/make_smollm2.py). Skipped where the
// model has not been pulled.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/base/file.h"
#include "microtome/decode/generate.h"
#include "microtome/formats/npz.h"
#include "microtome/lens/logit_lens.h"
#include "microtome/model/capture.h"
#include "microtome/model/loss.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

class DefaultModel : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path path = data_home() / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!fs::exists(path)) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
    static std::shared_ptr<const Model> model;
    if (!model) model = Model::load(path);
    model_ = model;
    golden_ = std::make_unique<NpzReader>(fs::path(MICROTOME_TEST_DATA) / "golden/models/smollm2.npz");
  }
  std::vector<int32_t> tokens(const std::string& prompt) const {
    const auto ids = golden_->read(prompt + ".tokens").integers();
    return {ids.begin(), ids.end()};
  }
  std::shared_ptr<const Model> model_;
  std::unique_ptr<NpzReader> golden_;
};

constexpr const char* kPrompts[] = {"capital", "alice", "chat"};

TEST_F(DefaultModel, log_probabilities_of_a_text_match) {
  for (const std::string prompt : kPrompts) {
    Batch batch;
    const auto ids = tokens(prompt);
    batch.add_sequence(ids);
    Plan plan;
    plan.logit_rows = LogitRows::kAll;
    const Tensor logits = forward(*model_, {.batch = batch, .plan = &plan}).logits.data;
    const auto losses = row_losses(*model_, logits, next_tokens(batch));
    const NpyArray want = golden_->read(prompt + ".logprobs");
    for (size_t i = 0; i + 1 < ids.size(); ++i) EXPECT_NEAR(-losses[i], want.as<double>()[i], 5e-4) << prompt << " token " << i;
  }
}

TEST_F(DefaultModel, logits_match) {
  Batch batch;
  batch.add_sequence(tokens("capital"));
  const Tensor logits = forward(*model_, {.batch = batch}).logits.data;
  const auto want = golden_->read("capital.logits").floats();
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(logits.f32()[i], want[i], 5e-4) << "token " << i;
}

TEST_F(DefaultModel, the_lens_matches_at_every_layer) {
  for (const std::string prompt : kPrompts) {
    const auto ids = tokens(prompt);
    Batch batch;
    batch.add_sequence(ids);
    Plan plan;
    const LensResult r = logit_lens(*model_, batch, plan, {.top = 10, .target_final = true});
    const auto top = golden_->read(prompt + ".lens.top_ids").integers();
    const auto top_logprob = golden_->read(prompt + ".lens.top_logprobs").floats();
    const auto entropy = golden_->read(prompt + ".lens.entropy").floats(),
               kl = golden_->read(prompt + ".lens.kl_to_final").floats();
    const auto final_logprob = golden_->read(prompt + ".lens.final_logprob").floats();
    const size_t n = ids.size();
    ASSERT_EQ(r.points.size(), 31u);
    for (size_t p = 0; p < r.points.size(); ++p)
      for (size_t i = 0; i < n; ++i) {
        const LensCell& cell = r.at(p, i);
        const size_t at = p * n + i;
        const double loose = 5e-4 * std::max(1.0, std::abs(static_cast<double>(final_logprob[at])));
        EXPECT_NEAR(cell.target_logprob, final_logprob[at], loose) << prompt << " point " << p << " position " << i;
        EXPECT_NEAR(cell.entropy, entropy[at], 2e-3);
        EXPECT_NEAR(cell.kl_to_final, kl[at], 2e-3 * std::max(1.0f, kl[at]));
        for (size_t k = 0; k < 10; ++k) {
          const double want = top_logprob[at * 10 + k];
          EXPECT_NEAR(cell.top[k].logprob, want, 5e-4 * std::max(1.0, std::abs(want)))
              << prompt << " point " << p << " position " << i;
        }
        if (top_logprob[at * 10] - top_logprob[at * 10 + 1] > 1e-2f) {
          EXPECT_EQ(cell.top[0].id, top[at * 10]);
        }
      }
  }
}

TEST_F(DefaultModel, the_last_lens_point_is_the_logits) {
  const auto ids = tokens("capital");
  Batch batch;
  batch.add_sequence(ids);
  Plan plan;
  plan.logit_rows = LogitRows::kAll;
  const Forward f = forward(*model_, {.batch = batch, .plan = &plan});
  const Tensor lens = unembed(*model_, f.residual.data);
  for (int64_t i = 0; i < lens.numel(); ++i) ASSERT_EQ(lens.f32()[i], std::as_const(f.logits.data).f32()[i]);
}

TEST_F(DefaultModel, greedy_text_matches_with_and_without_a_cache) {
  for (const std::string prompt : {"alice", "chat"}) {
    const auto want = golden_->read(prompt + ".greedy").integers();
    for (const bool use_cache : {true, false}) {
      Plan plan;
      const int64_t n = use_cache ? 40 : 8;
      const Generated g =
          generate(*model_, tokens(prompt), plan, {.max_tokens = n, .stop_at_end_of_turn = false, .use_cache = use_cache});
      EXPECT_EQ(std::vector<int64_t>(g.ids.begin(), g.ids.end()), std::vector<int64_t>(want.begin(), want.begin() + n)) << prompt;
    }
  }
}

TEST_F(DefaultModel, the_start_page_s_experiment_flips_the_answer_and_its_control_does_not) {
  const Json page = parse_json(read_file(fs::path(MICROTOME_TEST_DATA) / "../web/src/experiment.json"), "experiment.json");
  const api::Context context{model_, "smollm2-135m"};
  const auto answer = [&](const char* edit) {
    api::RunOptions o;
    o.input.prompt = page.at("prompt").get<std::string>();
    o.max_tokens = 1;
    if (edit) o.edits = {api::edit_from_json(page.at(edit))};
    return Json(api::run(context, o)[0].at("text"));
  };
  EXPECT_EQ(answer(nullptr), page.at("answer"));
  EXPECT_EQ(answer("edit"), page.at("flippedAnswer"));
  EXPECT_EQ(answer("control"), page.at("answer"));
}

TEST_F(DefaultModel, two_heads_carry_the_answer_and_two_others_do_not) {
  const api::Context context{model_, "smollm2-135m"};
  const auto answer = [&](const char* heads) {
    api::RunOptions o;
    o.input.prompt = "The capital of Portugal is the city of";
    o.max_tokens = 1;
    if (heads)
      o.edits = {api::parse_edit(
          std::string("blocks.23.attn.hook_z,pos=7,head=") + heads + "=from:The capital of France is the city of", {})};
    return api::run(context, o)[0].at("text").get<std::string>();
  };
  EXPECT_EQ(answer(nullptr), " Lisbon");
  EXPECT_EQ(answer("4:6"), " Paris");
  EXPECT_EQ(answer("2:4"), " Lisbon");
}

TEST_F(DefaultModel, native_weights_give_the_same_bits) {
  const auto native = Model::load(model_->checkpoint().path(), {.compute = ComputeMode::kNative});
  Batch batch;
  batch.add_sequence(tokens("alice"));
  const Tensor a = forward(*model_, {.batch = batch}).logits.data, b = forward(*native, {.batch = batch}).logits.data;
  for (int64_t i = 0; i < a.numel(); ++i) ASSERT_EQ(a.f32()[i], b.f32()[i]);
}

TEST_F(DefaultModel, gradients_of_tied_and_permuted_parameters_agree_with_central_differences_of_the_stream) {
  const api::Context context{model_, "smollm2-135m"};
  api::TraceOptions o;
  o.input.tokens = {tokens("capital")};
  o.sites = {"blocks.3.attn.hook_q", "blocks.29.hook_resid_post"};
  o.grad = true;
  for (const api::NamedArray& a : api::trace(context, o)) {
    if (!a.name.starts_with("grad.")) continue;
    double norm = 0;
    for (int64_t i = 0; i < a.data.numel(); ++i) norm += static_cast<double>(a.data.f32()[i]) * a.data.f32()[i];
    norm = std::sqrt(norm);
    Tensor direction = a.data.clone();
    for (int64_t i = 0; i < direction.numel(); ++i) direction.f32()[i] /= static_cast<float>(norm);
    const double h = 0.05 / norm;
    const auto loss = [&](double step) {
      api::TraceOptions shifted;
      shifted.input = o.input;
      shifted.grad = true;
      shifted.sites = {"logits"};
      api::EditOptions edit;
      edit.site = a.name.substr(5);
      edit.op = EditOp::kAdd;
      edit.factor = static_cast<float>(step);
      edit.value = direction;
      shifted.edits = {edit};
      for (const api::NamedArray& b : api::trace(context, shifted))
        if (b.f64) return *b.f64;
      return 0.0;
    };
    EXPECT_NEAR((loss(h) - loss(-h)) / (2 * h), norm, 1e-2 * norm) << a.name;
  }
}

}  // namespace
}  // namespace microtome
