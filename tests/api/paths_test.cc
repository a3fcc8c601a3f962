// The command `paths`: what it gives for models with and without MLPs, and what it refuses.
#include "microtome/api/paths.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "../circuits/paths_support.h"
#include "microtome/base/error.h"

namespace microtome {
namespace {

using paths_support::deep_model;
using paths_support::golden;

Json command(const Model& model, const std::string& request) {
  // The model outlives the call.
  const api::Context context{.model = std::shared_ptr<const Model>(&model, [](const Model*) {}), .name = "m"};
  return api::paths(context, api::paths_options(parse_json(request, "test"))).at(0);
}

TEST(PathsCommand, components_terms_and_orders_are_given) {
  const auto model = deep_model(2);
  const Json r = command(*model, R"({"tokens": [5, 17, 3], "target": "#31", "versus": "#9"})");
  double components = 0, terms = 0;
  for (const Json& c : r["components"]) components += c["logit"].get<double>();
  for (const Json& t : r["terms"]) terms += t["logit"].get<double>();
  EXPECT_NEAR(components, r["logit"].get<double>(), 1e-4);
  EXPECT_NEAR(terms, r["logit"].get<double>(), 1e-4);
  EXPECT_EQ(r["orders"].size(), 3u);
  EXPECT_EQ(r["position"], 2);
  EXPECT_EQ(r["components"][2]["name"], "a0.h0");
}

TEST(PathsCommand, models_with_mlps_have_components_alone) {
  const Json r = command(golden("gpt2"), R"({"tokens": [5, 17, 3], "neurons": 4})");
  EXPECT_TRUE(r["terms"].empty());
  EXPECT_TRUE(r["orders"].empty());
  EXPECT_EQ(r["neurons"].size(), 4u);
  EXPECT_NEAR(r["total"].get<double>(), r["logit"].get<double>(), 1e-4);
}

TEST(PathsCommand, one_token_has_paths_but_no_loss) {
  const auto model = deep_model(2);
  const Json r = command(*model, R"({"tokens": [5], "target": "#31"})");
  EXPECT_TRUE(r["orders"][0]["loss"].is_null());
  EXPECT_NEAR(r["total"].get<double>(), r["logit"].get<double>(), 1e-4);
}

TEST(PathsCommand, a_zeroed_head_has_no_share_and_edits_of_the_stream_have_their_own) {
  const auto share = [](const Json& r, const char* name) {
    for (const Json& c : r["components"])
      if (c["name"] == name) return c["logit"].get<double>();
    ADD_FAILURE() << name;
    return 0.0;
  };
  const std::string input = R"("tokens": [5, 17, 3], "target": "#31", "bias-view": "raw", )";
  const Model& model = golden("gpt2");
  const Json plain = command(model, "{" + input + R"("neurons": 0})");
  const Json zeroed = command(model, "{" + input + R"("edits": [{"site": "blocks.1.attn.hook_z", "head": 1, "op": "zero"}]})");
  EXPECT_NE(share(plain, "a1.h1"), 0);
  EXPECT_EQ(share(zeroed, "a1.h1"), 0);
  EXPECT_NEAR(share(zeroed, "edits"), 0, 1e-4);
  EXPECT_NE(zeroed["logit"], plain["logit"]);
  const Json moved =
      command(model, "{" + input + R"("edits": [{"site": "blocks.1.hook_resid_pre", "op": "scale", "value": 2}]})");
  EXPECT_GT(std::abs(share(moved, "edits")), 1e-3);
  EXPECT_EQ(moved["total"], moved["logit"]);
}

TEST(PathsCommand, what_cannot_be_meant_is_refused) {
  const Model& model = golden("gpt2");
  for (const char* bad : {R"({"tokens": [5, 6], "target": "#31", "versus": "#31"})", R"({"tokens": [5, 6], "position": 2})",
                          R"({"tokens": [5, 6], "target": "#99999"})", R"({"tokens": [5, 6], "bias-view": "both"})",
                          R"({"tokens": [5, 6], "heads": 3})", R"({"tokens": [5, 6], "neurons": -1})"})
    EXPECT_THROW(command(model, bad), Error) << bad;
}

}  // namespace
}  // namespace microtome
