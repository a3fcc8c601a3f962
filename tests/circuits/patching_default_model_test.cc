// The default model against TransformerLens (tests/golden/circuits/make_patching.py). Skipped where it has not been pulled.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "microtome/base/file.h"
#include "microtome/base/json.h"
#include "microtome/circuits/patching/attribution.h"
#include "patching_support.h"

namespace microtome {
namespace {

using namespace patching_support;
namespace fs = std::filesystem;

class DefaultModelPatching : public testing::Test {
 protected:
  void SetUp() override {
    const fs::path path = data_home() / "models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf";
    if (!fs::exists(path)) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
    static std::shared_ptr<const Model> model;
    if (!model) model = Model::load(path);
    model_ = model;
    golden_ = parse_json(read_file(fs::path(MICROTOME_TEST_DATA) / "golden/circuits/patching.json"), "patching.json");
  }
  PatchSetup setup() const {
    PatchSetup s;
    for (size_t i = 0; i < golden_["answers"].size(); ++i)
      s.examples.push_back({.clean = golden_["clean_tokens"][i].get<std::vector<int32_t>>(),
                            .corrupted = golden_["corrupted_tokens"][i].get<std::vector<int32_t>>(),
                            .answers = {golden_["answers"][i].get<int32_t>()},
                            .wrong = {golden_["wrong"][i].get<int32_t>()}});
    return s;
  }
  std::shared_ptr<const Model> model_;
  Json golden_;
};

TEST_F(DefaultModelPatching, the_residual_map_of_the_ioi_prompts_is_that_of_transformer_lens) {
  PatchRuns runs(*model_, setup());
  const CellGrid grid = make_grid(model_->config(), SiteKind::kResidPre, parse_axes("layer,pos"), {}, runs.longest());
  const EffectMap map = summarise(patch_exact(runs, grid, {}), 0);
  EXPECT_NEAR(map.clean, golden_["clean"].get<double>(), 1e-3);
  EXPECT_NEAR(map.corrupted, golden_["corrupted"].get<double>(), 1e-3);
  ASSERT_EQ(grid.ticks[0].size(), golden_["resid_pre"].size());
  double largest = 0;
  for (size_t c = 0; c < grid.size(); ++c) {
    const Cell cell = grid.cell(c);
    const double want = golden_["resid_pre"][cell.layer][*cell.pos].get<double>();
    EXPECT_NEAR(map.value[c], want, 1e-3) << "layer " << cell.layer << " position " << *cell.pos;
    largest = std::max(largest, std::abs(map.value[c] - want));
    if (*cell.pos < runs.first_difference(0)) {
      EXPECT_EQ(map.value[c], 0.0);
    }
  }
  RecordProperty("largest_difference", std::to_string(largest));
}

TEST_F(DefaultModelPatching, single_heads_are_those_of_transformer_lens) {
  PatchRuns runs(*model_, setup());
  for (const Json& head : golden_["z"]) {
    const CellGrid grid = make_grid(model_->config(), SiteKind::kZ, parse_axes("layer,head"),
                                    {.layers = {head["layer"].get<int64_t>()}, .heads = {head["head"].get<int64_t>()}}, 0);
    const EffectMap map = summarise(patch_exact(runs, grid, {}), 0);
    EXPECT_NEAR(map.value[0], head["value"].get<double>(), 1e-3) << head.dump();
  }
}

TEST_F(DefaultModelPatching, attribution_of_heads_outputs_ranks_them_as_exact_patches_do) {
  PatchRuns runs(*model_, setup());
  const CellGrid grid = make_grid(model_->config(), SiteKind::kZ, parse_axes("layer,head"),
                                  {.layers = {17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29}}, 0);
  const EffectMap exact = summarise(patch_exact(runs, grid, {}), 0),
                  linear = summarise(attribute(runs, grid, {}, PatchMethod::kAtp), 0);
  EXPECT_GT(correlation(exact.value, linear.value), 0.8);
}

}  // namespace
}  // namespace microtome
