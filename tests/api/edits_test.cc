// Edits and names of tokens as requests and command lines give them, hostile ones included.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/api/lens_files.h"
#include "microtome/api/request.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

const fs::path kData = MICROTOME_TEST_DATA;

api::EditOptions edit_at(const Json& pos) {
  return api::edit_from_json({{"site", "blocks.0.hook_resid_post"}, {"op", "zero"}, {"pos", pos}});
}

TEST(Edits, positions_beyond_64_bits_are_refused_rather_than_wrapped) {
  EXPECT_EQ(edit_at(-1).where.pos->begin, -1);
  EXPECT_THROW(edit_at(~uint64_t{0}), api::FieldError);
  EXPECT_THROW(edit_at(INT64_MIN), api::FieldError);
  EXPECT_THROW(edit_at("-9223372036854775808"), api::FieldError);
}

std::string refused_edit(const std::string& text) {
  const size_t equals = text.find('='), colon = text.find(':', equals);
  std::string by_json;
  try {
    api::edit_from_json({{"site", text.substr(0, equals)},
                         {"op", text.substr(equals + 1, colon - equals - 1)},
                         {"value", text.substr(colon + 1)}});
  } catch (const api::FieldError& e) {
    by_json = e.what();
  }
  try {
    api::parse_edit(text, {});
  } catch (const api::FieldError& e) {
    EXPECT_EQ(by_json, e.what()) << text;
    return e.what();
  }
  ADD_FAILURE() << text << " was accepted";
  return "";
}

TEST(Edits, through_a_lens_say_what_is_wrong_with_the_layer) {
  for (const char* layer : {"-1", "x", "", "0:2", "99999999999999999999"}) {
    const std::string message = refused_edit("logit@" + std::string(layer) + "=ablate:x");
    EXPECT_NE(message.find("the layer behind @ is \"" + std::string(layer) + "\""), std::string::npos) << message;
  }
  EXPECT_NE(refused_edit("@3=ablate:x").find("the lens before @ is missing"), std::string::npos);
}

TEST(Edits, through_a_lens_take_factors_that_are_finite_and_tokens_with_stars) {
  for (const char* factor : {"1e40", "-1e7", "nan", "-nan", "inf", "+Infinity", "1e999"})
    EXPECT_NE(refused_edit("logit@0=add: the*" + std::string(factor)).find("add:TOKEN*X"), std::string::npos) << factor;
  EXPECT_EQ(api::parse_edit("logit@0=add: the*-1.5e2", {}).lens->factor, -150);
  EXPECT_EQ(api::parse_edit("logit@0=add: the*+2", {}).lens->factor, 2);
  EXPECT_EQ(api::parse_edit("logit@0=add:**", {}).lens->tokens, "**");
  EXPECT_EQ(api::parse_edit("logit@0=add:a*b", {}).lens->tokens, "a*b");
  EXPECT_THROW(api::parse_edit("resid_post0=scale:1e40", {}), api::FieldError);
  EXPECT_THROW(api::edit_from_json({{"site", "resid_post0"}, {"op", "scale"}, {"value", 1e40}}), api::FieldError);
}

TEST(Edits, through_a_registered_lens_do_not_say_where_it_lies) {
  const fs::path home = fs::path(testing::TempDir()) / "microtome_secret_home";
  fs::create_directories(home / "lenses");
  std::ofstream(home / "lenses/broken.safetensors") << "this is not a lens at all";
  std::ofstream(home / "lenses/broken2.pt") << "PK this is not a lens at all";
  const char* before = std::getenv("MICROTOME_HOME");
  const std::string old = before ? before : "";
  setenv("MICROTOME_HOME", home.c_str(), 1);
  for (const char* name : {"broken", "broken2", "absent", "../x", ""}) {
    try {
      api::registered_lens(name);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(std::string(e.what()).find("secret"), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
      EXPECT_NE(e.kind(), ErrorKind::kCorrupt) << "a server would not say why";
    }
  }
  const auto field = [](const auto& read) -> std::string {
    try {
      read();
    } catch (const api::FieldError& e) {
      return e.param();
    }
    return "";
  };
  EXPECT_EQ(field([] { api::lens_options({{"tokens", {1}}, {"jacobian", "broken"}}); }), "jacobian");
  EXPECT_EQ(field([] { api::edit_from_json({{"site", "absent@0"}, {"op", "ablate"}, {"value", "a"}}); }), "edits");
  before ? setenv("MICROTOME_HOME", old.c_str(), 1) : unsetenv("MICROTOME_HOME");
  fs::remove_all(home);
}

// A model of 96 tokens with a tokenizer that knows more.
class SmallVocabulary : public testing::Test {
 protected:
  SmallVocabulary() {
    fs::create_directories(folder_);
    for (const char* name : {"config.json", "model.safetensors"})
      fs::copy_file(kData / "golden/models/gpt2" / name, folder_ / name, fs::copy_options::overwrite_existing);
    fs::copy_file(kData / "golden/text/gpt2.tokenizer.json", folder_ / "tokenizer.json", fs::copy_options::overwrite_existing);
    context_ = {.model = Model::load(folder_), .name = "gpt2"};
  }
  ~SmallVocabulary() override { fs::remove_all(folder_); }

  fs::path folder_ = fs::path(testing::TempDir()) / "microtome_small_vocabulary";
  api::Context context_;
};

TEST_F(SmallVocabulary, targets_outside_of_it_are_refused) {
  const Tokenizer& tokenizer = context_.model->need_tokenizer();
  ASSERT_GT(tokenizer.vocab_size(), 96);
  EXPECT_EQ(api::find_token(*context_.model, tokenizer.token_text(70)), 70);
  EXPECT_THROW(api::find_token(*context_.model, tokenizer.token_text(300)), api::FieldError);
}

TEST_F(SmallVocabulary, values_of_a_site_without_heads_fit_where_each_head_has_its_own_copy) {
  api::TraceOptions o;
  o.input.tokens = {{5, 6}};
  o.sites = {"logits"};
  o.edits = {api::edit_from_json({{"site", "blocks.0.hook_q_input"}, {"op", "scale"}, {"value", 2}}),
             api::edit_from_json({{"site", "blocks.0.ln1.hook_scale"}, {"op", "set"}, {"value", {{1}, {2}}}})};
  EXPECT_NO_THROW(api::trace(context_, o));
}

TEST_F(SmallVocabulary, an_edit_beyond_the_run_s_positions_is_refused) {
  api::TraceOptions o;
  o.input.tokens = {{5, 6}, {7}};
  o.sites = {"logits"};
  o.edits = {edit_at(1)};
  EXPECT_NO_THROW(api::trace(context_, o));
  o.edits = {edit_at(2)};
  EXPECT_THROW(api::trace(context_, o), api::FieldError);
}

TEST_F(SmallVocabulary, a_run_keeps_the_activations_of_prompt_and_every_generated_token) {
  for (const bool use_cache : {true, false}) {
    api::RunOptions o;
    o.input.tokens = {{5, 6, 7}};
    o.max_tokens = 4;
    o.use_cache = use_cache;
    o.sites = {"blocks.1.hook_resid_post", "blocks.0.attn.hook_pattern"};
    std::vector<api::NamedArray> kept;
    const Json result = api::run(context_, o, {}, &kept).at(0);
    ASSERT_EQ(result.at("ids").size(), 4u);
    ASSERT_EQ(kept.size(), 3u);
    EXPECT_EQ(kept[0].data.shape(), (Shape{1, 7}));
    // The same as a trace of the whole text.
    api::TraceOptions t;
    t.input.tokens = {{5, 6, 7}};
    for (const Json& id : result.at("ids")) t.input.tokens[0].push_back(id.get<int32_t>());
    t.sites = o.sites;
    for (const api::NamedArray& a : api::trace(context_, t))
      for (const api::NamedArray& b : kept) {
        if (a.name != b.name || a.name == "tokens") continue;
        ASSERT_EQ(a.data.shape(), b.data.shape()) << a.name;
        for (int64_t i = 0; i < a.data.numel(); ++i) ASSERT_EQ(a.data.f32()[i], b.data.f32()[i]) << a.name;
      }
  }
}

TEST_F(SmallVocabulary, one_edit_takes_many_sites_from_another_prompt) {
  const std::string text = context_.model->need_tokenizer().token_text(70);
  const auto logits = [&](const std::vector<std::string>& sites) {
    api::TraceOptions o;
    o.input.tokens = {{5}};
    o.sites = {"logits"};
    for (const std::string& site : sites) {
      o.edits.push_back(api::edit_from_json({{"site", site}, {"op", "from"}, {"value", text}}));
    }
    const Tensor t = api::trace(context_, o).at(1).data;
    return std::vector<float>(t.f32(), t.f32() + t.numel());
  };
  const auto by_glob = logits({"blocks.*.attn.hook_z"});
  EXPECT_EQ(by_glob, logits({"blocks.0.attn.hook_z", "blocks.1.attn.hook_z"}));
  EXPECT_NE(by_glob, logits({}));
}

}  // namespace
}  // namespace microtome
