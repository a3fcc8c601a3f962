#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "microtome/base/error.h"
#include "microtome/model/model.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(MICROTOME_TEST_DATA) / "golden/models";

std::vector<std::string> names(std::string_view pattern, const Config& config) {
  std::vector<std::string> out;
  for (const Site& s : match_sites(pattern, config)) out.push_back(site_name(s));
  return out;
}

TEST(Sites, names_globs_and_short_forms_find_the_same_places) {
  const auto model = Model::load(kGolden / "neox_serial");
  const Config& c = model->config();
  const std::vector<std::string> one{"blocks.1.hook_resid_post"};
  EXPECT_EQ(names("blocks.1.hook_resid_post", c), one);
  EXPECT_EQ(names("resid_post1", c), one);
  EXPECT_EQ(names("resid_post.1", c), one);
  EXPECT_EQ(names("blocks.*.hook_resid_post", c), names("resid_post", c));
  EXPECT_EQ(names("resid_post*", c), names("resid_post", c));
  EXPECT_EQ(names("scale0.ln1", c), std::vector<std::string>{"blocks.0.ln1.hook_scale"});
  EXPECT_EQ(names("q1", c), std::vector<std::string>{"blocks.1.attn.hook_q"});
}

TEST(Sites, other_names_of_the_same_places_are_understood) {
  const auto model = Model::load(kGolden / "llama_gqa_tied");
  EXPECT_EQ(names("blocks.1.hook_out", model->config()), std::vector<std::string>{"blocks.1.hook_resid_post"});
  EXPECT_EQ(names("blocks.*.attn.o.hook_in", model->config()), names("z", model->config()));
  // A glob means the sites' own names where any matches.
  for (const std::string& name : names("*hook_out", model->config())) EXPECT_EQ(name, "unembed.hook_out");
}

TEST(Sites, logits_are_found_by_name_only) {
  const auto model = Model::load(kGolden / "gpt2");
  for (const std::string& name : names("*", model->config())) EXPECT_NE(name, "logits");
  EXPECT_EQ(names("logits", model->config()), std::vector<std::string>{"logits"});
}

TEST(Sites, an_unknown_name_gets_the_nearest_as_a_suggestion) {
  const auto model = Model::load(kGolden / "gpt2");
  try {
    match_sites("blocks.0.hook_resid_pots", model->config());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNotFound);
    EXPECT_NE(std::string(e.what()).find("\"blocks.0.hook_resid_post\""), std::string::npos) << e.what();
  }
}

TEST(Sites, parallel_and_attention_only_models_lack_what_they_do_not_have) {
  EXPECT_FALSE(site_exists({SiteKind::kResidMid, 0}, Model::load(kGolden / "neox_parallel")->config()));
  EXPECT_FALSE(site_exists({SiteKind::kMlpOut, 0}, Model::load(kGolden / "attn_only_ln")->config()));
  EXPECT_FALSE(site_exists({SiteKind::kLn1Scale, 0}, Model::load(kGolden / "attn_only_rotary")->config()));
  EXPECT_TRUE(site_exists({SiteKind::kAttentionInput, 0}, Model::load(kGolden / "attn_only_shortformer")->config()));
}

// transformers writes rope_theta and rope_scaling (older) or rope_parameters (newer): the same model.
TEST(Configurations, older_and_newer_transformers_give_the_same_bits) {
  int compared = 0;
  for (const auto& entry : fs::directory_iterator(kGolden)) {
    for (const char* other : {"config.older.json", "config.newer.json"}) {
      if (!fs::exists(entry.path() / other)) continue;
      const fs::path folder = fs::path(testing::TempDir()) / ("other_" + entry.path().filename().string());
      fs::create_directories(folder);
      fs::copy_file(entry.path() / other, folder / "config.json", fs::copy_options::overwrite_existing);
      fs::copy_file(entry.path() / "model.safetensors", folder / "model.safetensors", fs::copy_options::overwrite_existing);
      const auto a = Model::load(entry.path()), b = Model::load(folder);
      Batch batch;
      batch.add_sequence(std::vector<int32_t>{3, 1, 4, 1, 5, 9, 2, 6});
      const Tensor x = forward(*a, {.batch = batch}).logits.data, y = forward(*b, {.batch = batch}).logits.data;
      for (int64_t i = 0; i < x.numel(); ++i) ASSERT_EQ(x.f32()[i], y.f32()[i]) << entry.path();
      ++compared;
      fs::remove_all(folder);
    }
  }
  EXPECT_GE(compared, 4);
}

TEST(Families, names_as_on_the_hub_give_the_same_bits) {
  const auto a = Model::load(kGolden / "gpt2"), b = Model::load(kGolden / "gpt2_hub");
  Batch batch;
  batch.add_sequence(std::vector<int32_t>{3, 1, 4, 1, 5});
  const Tensor x = forward(*a, {.batch = batch}).logits.data, y = forward(*b, {.batch = batch}).logits.data;
  for (int64_t i = 0; i < x.numel(); ++i) ASSERT_EQ(x.f32()[i], y.f32()[i]);
}

TEST(Families, an_unknown_architecture_is_named_with_those_that_are_known) {
  const fs::path folder = fs::path(testing::TempDir()) / "unknown_family";
  fs::create_directories(folder);
  std::ofstream(folder / "config.json") << R"({"model_type": "rwkv"})";
  fs::copy_file(kGolden / "gpt2/model.safetensors", folder / "model.safetensors", fs::copy_options::overwrite_existing);
  try {
    Model::load(folder);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUnsupported);
    EXPECT_NE(std::string(e.what()).find("\"rwkv\""), std::string::npos) << e.what();
  }
  fs::remove_all(folder);
}

}  // namespace
}  // namespace microtome
