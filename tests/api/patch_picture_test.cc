// Pictures of patching maps: what is drawn of maps with more than two axes, and that foreign text stays text.
#include "microtome/api/patch_picture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/patch.h"

namespace microtome::api {
namespace {

Json map_of(Json axes, Json ticks, Json values) {
  const Json copy = values;
  return {{"model", "m"},
          {"task", "pairs"},
          {"site", "z"},
          {"direction", "denoise"},
          {"method", "exact"},
          {"metric", "kl"},
          {"prompts", 2},
          {"clean", 1.0},
          {"corrupted", 0.0},
          {"baseline", 0},
          {"axes", axes},
          {"ticks", ticks},
          {"values", values},
          {"low", copy},
          {"high", copy},
          {"raw", copy},
          {"seconds", 0.1},
          {"macs", {{"plain", 2}, {"planned", 1}, {"executed", 1}}},
          {"positions", Json::array({{{"position", 0}, {"clean", {" a"}}, {"corrupted", {" a"}}},
                                     {{"position", 1}, {"clean", {" b"}}, {"corrupted", {" c"}}, {"role", "S"}},
                                     {{"position", 2}, {"clean", {"x", "y"}}, {"corrupted", {"x"}}, {"role", "END"}}})}};
}

TEST(PatchPanels, show_two_axes_as_they_are_with_tokens_where_prompts_agree_and_roles_where_not) {
  const Json map =
      map_of({"layer", "pos"}, {{"layer", {4, 9}}, {"pos", {0, 1, 2}}}, Json::array({{0, 0.25, nullptr}, {0, -1, 0.5}}));
  const auto panels = patch_panels(map);
  ASSERT_EQ(panels.size(), 1u);
  EXPECT_EQ(panels[0].rows, (std::vector<std::string>{"4", "9"}));
  EXPECT_EQ(panels[0].columns_below, (std::vector<std::string>{"·a", "·b/·c", "END"}));
  EXPECT_EQ(panels[0].at(1, 1), -1);
  EXPECT_TRUE(std::isnan(panels[0].at(0, 2)));
  EXPECT_EQ(patch_scale(map), 1);
  const auto strongest = patch_strongest(map, 10);
  ASSERT_EQ(strongest.size(), 3u) << "neither what is at the baseline nor what is missing";
  EXPECT_EQ(strongest[0].name, "layer 9, position 1");
}

TEST(PatchPanels, reduce_further_axes_to_the_value_farthest_from_the_baseline_and_say_where_it_is) {
  const Json map = map_of({"layer", "head", "pos"}, {{"layer", {0}}, {"head", {0, 1}}, {"pos", {0, 1, 2}}},
                          Json::array({Json::array({{0, 0.2, -0.7}, {nullptr, 0, 0}})}));
  const auto panels = patch_panels(map);
  ASSERT_EQ(panels.size(), 2u);
  EXPECT_EQ(panels[0].at(0, 0), -0.7);
  EXPECT_EQ(panels[0].notes[0], "at position 2");
  EXPECT_EQ(panels[0].at(0, 1), 0);
  EXPECT_EQ(panels[1].rows, (std::vector<std::string>{"0.0"})) << "the strongest heads, and only those with an effect";
  EXPECT_EQ(panels[1].at(0, 1), 0.2);
}

TEST(PatchPanels, are_one_for_each_ablation) {
  const Json map = map_of({"ablation", "layer", "head"}, {{"ablation", {"zero", "mean"}}, {"layer", {0}}, {"head", {0, 1}}},
                          Json::array({Json::array({{0.1, 0.2}}), Json::array({{0.3, 0.4}})}));
  const auto panels = patch_panels(map);
  ASSERT_EQ(panels.size(), 2u);
  EXPECT_EQ(panels[0].title, "zero ablation");
  EXPECT_EQ(panels[1].at(0, 1), 0.4);
  EXPECT_EQ(patch_strongest(map, 1)[0].name, "mean, layer 0, head 1");
}

TEST(PatchPanels, lay_many_senders_out_as_layers_by_heads_with_the_mlp_beside_them) {
  Json from = Json::array({"input"}), values = Json::array({{0.99}});
  for (int l = 0; l < 10; ++l) {
    for (int h = 0; h < 4; ++h) {
      from.push_back("a" + std::to_string(l) + ".h" + std::to_string(h));
      values.push_back({0.01 * (10 * l + h)});
    }
    from.push_back("m" + std::to_string(l));
    values.push_back({-0.5});
  }
  Json map = map_of({"from", "to"}, {{"from", from}, {"to", {"logits"}}}, values);
  map["through_mlps"] = false;
  const auto panels = patch_panels(map);
  ASSERT_EQ(panels.size(), 1u);
  EXPECT_EQ(panels[0].columns, (std::vector<std::string>{"h0", "h1", "h2", "h3", "MLP"}));
  EXPECT_DOUBLE_EQ(panels[0].at(7, 2), 0.72);
  EXPECT_DOUBLE_EQ(panels[0].at(7, 4), -0.5);
  EXPECT_EQ(patch_strongest(map, 1)[0].name, "input → logits");
}

TEST(PatchPanels, name_each_pair_of_heads_once) {
  const Json map = map_of({"head", "head"}, {{"head", {"a1.h0", "a2.h1"}}}, Json::array({{nullptr, -0.3}, {-0.3, nullptr}}));
  const auto strongest = patch_strongest(map, 5);
  ASSERT_EQ(strongest.size(), 1u);
  EXPECT_EQ(strongest[0].name, "a1.h0 and a2.h1");
}

TEST(PatchPicture, writes_unchanged_cells_as_a_dot_and_small_changes_without_noise) {
  EXPECT_EQ(patch_number(0, 0), "·");
  EXPECT_EQ(patch_number(-0.001, 0), "0");
  EXPECT_EQ(patch_number(1.004, 1), "1");
  EXPECT_EQ(patch_number(-0.126, 0), "-0.13");
  EXPECT_EQ(patch_number(0.5, 0, true), "50");
}

TEST(PatchPicture, keeps_text_of_models_and_prompts_text) {
  Json map = map_of({"layer", "pos"}, {{"layer", {0}}, {"pos", {0}}}, Json::array({{0.5}}));
  map["model"] = "<script>alert(1)</script>&\"";
  map["positions"][0]["clean"] = Json::array({"</svg>"});
  map["positions"][0]["corrupted"] = Json::array({"\x1b[2J"});
  const std::string svg = patch_svg(map);
  EXPECT_EQ(svg.find("<script"), std::string::npos);
  EXPECT_EQ(svg.find("</svg>"), svg.size() - 7) << "only the last one";
  EXPECT_EQ(svg.find('\x1b'), std::string::npos);
}

// --- requests
// --------------------------------------------------------------------------------------------------------------------

TEST(PatchRequest, reads_ablations_with_their_subspaces_inline_and_refuses_files) {
  const PatchOptions o = patch_options(Json::parse(
      R"({"clean": [1, 2], "corrupted": [1, 3], "ablate": ["zero", {"project": [[1, 0], [0, 1]]}], "layers": "1:3", "heads": [0, 4]})"));
  ASSERT_EQ(o.ablate.size(), 2u);
  EXPECT_EQ(o.ablate[1].basis.shape(), (Shape{2, 2}));
  EXPECT_EQ(o.selection.layers, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(o.selection.heads, (std::vector<int64_t>{0, 4}));
  for (const char* bad : {R"({"ablate": "project:/etc/passwd"})", R"({"ablate": [{"project": [[1], [1, 2]]}]})",
                          R"({"ablate": [{"project": []}]})", R"({"ablate": 3})", R"({"layers": "x"})", R"({"heads": [-1]})",
                          R"({"memory": 0})", R"({"svg": "f"})", R"({"top": 1})", R"({"neurons": []})", R"({"most": 1000})"})
    EXPECT_THROW(patch_options(Json::parse(bad)), Error) << bad;
}

}  // namespace
}  // namespace microtome::api
