#include "microtome/api/lens_picture.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/colour_ramp.h"
#include "microtome/api/visible_text.h"

namespace microtome::api {
namespace {

Json cell(const std::string& text, double p) {
  return {{"top", {{{"id", 1}, {"text", text}, {"logprob", std::log(p)}}}}, {"entropy", 0.5}, {"kl_to_final", 0.25}};
}

// One layer, two positions.
Json small_lens() {
  return {{"model", "tiny"},
          {"tokens", {{{"id", 5}, {"text", "The"}}, {{"id", 6}, {"text", " city"}}}},
          {"points", {"blocks.0.hook_resid_pre", "blocks.0.hook_resid_mid", "blocks.0.hook_resid_post"}},
          {"positions", {0, 1}},
          {"cells",
           {{cell(" of", 1.0), cell(" the", 0.52)}, {cell("a", 0.2), cell("b", 0.0)}, {cell("c", 0.3), cell(" Lisbon", 0.76)}}}};
}

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

// The step of colour of the cell with this token.
std::string step_of(const std::string& svg, const std::string& token) {
  const std::string begin = "class=\"cell ";
  const size_t at = svg.find(">" + token + "</text>");
  const size_t cell = at == std::string::npos ? at : svg.rfind(begin, at);
  if (cell == std::string::npos) return "none";
  return svg.substr(cell + begin.size(), svg.find('"', cell + begin.size()) - cell - begin.size());
}

TEST(LensPicture, says_title_model_prompt_axes_and_units) {
  const std::string svg = lens_svg(small_lens());
  for (const char* words : {">Logit lens<", ">model: tiny<", ">prompt: The city<", ">layer<", ">position: input token<",
                            "numbers: in %", ">probability of the most probable token<", ">1: ·city<", ">0 mid<", ">end<"})
    EXPECT_NE(svg.find(words), std::string::npos) << words;
}

TEST(LensPicture, has_a_cell_for_every_layer_and_position_coloured_by_probability) {
  const std::string svg = lens_svg(small_lens());
  EXPECT_EQ(count(svg, "class=\"cell "), 6u);
  EXPECT_EQ(step_of(svg, "·of"), "c10");
  EXPECT_EQ(step_of(svg, "·the"), "c5");
  EXPECT_EQ(step_of(svg, "b"), "c0");
  EXPECT_NE(svg.find(">76</text>"), std::string::npos);
}

TEST(LensPicture, follows_a_target_where_one_was_asked_for) {
  Json lens = small_lens();
  for (Json& row : lens["cells"])
    for (Json& c : row) c["target"] = {{"id", 9}, {"text", " Lisbon"}, {"logprob", std::log(0.1)}, {"rank", 7}};
  lens["cells"][0][1]["target"] = nullptr;
  const std::string svg = lens_svg(lens);
  EXPECT_NE(svg.find(">probability of the target<"), std::string::npos);
  EXPECT_EQ(count(svg, ">#7</text>"), 5u);
  EXPECT_EQ(step_of(svg, "·of"), "c1");
  EXPECT_NE(lens_html(lens).find("rank of the target"), std::string::npos);
}

TEST(LensPicture, text_out_of_models_and_prompts_is_inert) {
  Json lens = small_lens();
  const std::string hostile = "</script><script>alert(1)</script>\x01\u202e\"&";
  lens["model"] = hostile;
  lens["tokens"][0]["text"] = hostile;
  lens["cells"][0][0]["top"][0]["text"] = hostile;
  const std::string page = lens_html(lens);
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(count(page, "</script>"), 2u);
  const std::string svg = lens_svg(lens);
  EXPECT_EQ(svg.find("<script"), std::string::npos);
  EXPECT_EQ(svg.find('\x01'), std::string::npos);
  EXPECT_EQ(svg.find("\u202e"), std::string::npos);
}

TEST(LensPicture, the_page_needs_nothing_else) {
  const std::string page = lens_html(small_lens());
  for (const char* reference : {"src=", "href=", "url(", "@import", "fetch("})
    EXPECT_EQ(page.find(reference), std::string::npos) << reference;
  EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(count(page, "<svg "), 1u);
}

TEST(LensPicture, draws_what_has_no_number) {
  Json lens = small_lens();
  lens["cells"][0][0] = {{"top", Json::array()}, {"entropy", nullptr}, {"kl_to_final", std::nan("")}};
  lens["cells"][1][0]["top"][0]["logprob"] = std::nan("");
  EXPECT_EQ(count(lens_svg(lens), "class=\"cell "), 6u);
  EXPECT_NE(lens_html(lens).find("</html>"), std::string::npos);
}

// --- colours ---------------------------------------------------------------------------------------------------------------

double channel(int byte) {
  const double x = byte / 255.0;
  return x <= 0.04045 ? x / 12.92 : std::pow((x + 0.055) / 1.055, 2.4);
}

double luminance(const std::string& hex) {
  const long rgb = std::stol(hex.substr(1), nullptr, 16);
  return 0.2126 * channel(rgb >> 16 & 255) + 0.7152 * channel(rgb >> 8 & 255) + 0.0722 * channel(rgb & 255);
}

TEST(ColourRamp, text_reads_on_every_step) {
  for (const bool dark : {false, true})
    for (int step = 0; step < kRampSteps; ++step) {
      const RampColour c = ramp_colour(step, dark);
      const double a = luminance(c.fill) + 0.05, b = luminance(c.text) + 0.05;
      EXPECT_GE(std::max(a, b) / std::min(a, b), 4.5) << c.fill << " " << c.text;
    }
}

TEST(ColourRamp, lightness_falls_in_light_and_rises_in_dark) {
  for (int step = 1; step < kRampSteps; ++step) {
    EXPECT_LT(luminance(ramp_colour(step, false).fill), luminance(ramp_colour(step - 1, false).fill));
    EXPECT_GT(luminance(ramp_colour(step, true).fill), luminance(ramp_colour(step - 1, true).fill));
  }
}

TEST(ColourRamp, values_outside_go_to_the_ends) {
  EXPECT_EQ(ramp_step(-1), 0);
  EXPECT_EQ(ramp_step(std::nan("")), 0);
  EXPECT_EQ(ramp_step(0.51), 5);
  EXPECT_EQ(ramp_step(7), kRampSteps - 1);
}

// --- tokens as people see them -----------------------------------------------------------------------------------------------

TEST(VisibleText, shows_what_has_no_shape) {
  EXPECT_EQ(visible_text(" a\n\tb"), "·a↵→b");
  EXPECT_EQ(visible_text("\x1b[31m\u00a0\u200b\u202e"), "<U+001B>[31m<U+00A0><U+200B><U+202E>");
  EXPECT_EQ(visible_text("\xe6日\xff"), "<0xE6>日<0xFF>");
  EXPECT_EQ(visible_text("a b", true), "a b");
}

}  // namespace
}  // namespace microtome::api
