// Heat maps of head scores: for each detector layers down and heads across, coloured from the background (0) to one hue (1).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/colour_ramp.h"
#include "microtome/api/heads.h"
#include "microtome/api/svg.h"
#include "microtome/api/visible_text.h"

namespace microtome::api {
namespace {

// Pixels.
constexpr int kCell = 15, kPanelLeft = 40, kPanelTop = 92, kMargin = 16, kGap = 34, kLegend = 56, kLeastWidth = 520,
              kPanelsAcross = 4, kPanelHead = 38;

std::string style() {
  SvgRules rules;
  for (int step = 0; step < kRampSteps; ++step) {
    rules.light += fmt::format(".heads .c{} {{fill:{}}}", step, ramp_colour(step, false).fill);
    rules.dark += fmt::format(".heads .c{} {{fill:{}}}", step, ramp_colour(step, true).fill);
  }
  return svg_style("heads", 10, rules);
}

struct Shape {
  int64_t layers = 1, heads = 1;
};

Shape shape_of(const Json& result) {
  Shape s;
  for (const Json& h : result["heads"]) {
    if (h["layer"].is_number()) s.layers = std::max(s.layers, h["layer"].get<int64_t>() + 1);
    s.heads = std::max(s.heads, h["head"].get<int64_t>() + 1);
  }
  return s;
}

std::string panel(const Json& result, const std::string& detector, const Shape& s, int x, int y) {
  std::string out = svg_text(x, y - 22, "ink", detector) + svg_text(x, y - 8, "faint", "head →");
  for (int64_t l = 0; l<s.layers; l += s.layers> 12 ? 5 : 1)
    out += svg_text(x - 5, y + static_cast<int>(l) * kCell + 11, "ink", fmt::format("{}", l), " text-anchor=\"end\"");
  for (const Json& h : result["heads"]) {
    const Json& value = h["scores"][detector];
    const double score = value.is_number() ? value.get<double>() : std::nan("");
    const int64_t layer = h["layer"].is_number() ? h["layer"].get<int64_t>() : 0, head = h["head"].get<int64_t>();
    const std::string name = h["layer"].is_number() ? fmt::format("{}.{}", layer, head) : fmt::format("{}", head);
    out += fmt::format(
        "<rect class=\"c{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"><title>head {}, {} {:.3f}</title></rect>\n",
        ramp_step(score), x + head * kCell, y + layer * kCell, kCell - 1, kCell - 1, name, svg_escaped(detector), score);
  }
  return out + fmt::format("<rect class=\"edge\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", x - 1, y - 1,
                           s.heads * kCell + 1, s.layers * kCell + 1);
}

std::string legend(int y) {
  std::string out = svg_text(kPanelLeft, y + 12, "faint", "score (values below 0 as 0); hover a cell for its number");
  for (int step = 0; step < kRampSteps; ++step)
    out +=
        fmt::format("<rect class=\"c{}\" x=\"{}\" y=\"{}\" width=\"20\" height=\"12\"/>\n", step, kPanelLeft + step * 20, y + 18);
  out +=
      fmt::format("<rect class=\"edge\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"12\"/>\n", kPanelLeft, y + 18, 20 * kRampSteps);
  return out + svg_text(kPanelLeft, y + 42, "ink", "0") +
         svg_text(kPanelLeft + 20 * kRampSteps, y + 42, "ink", "1", " text-anchor=\"end\"");
}

}  // namespace

std::string heads_svg(const Json& result) {
  const Shape s = shape_of(result);
  std::vector<std::string> names;
  if (!result["heads"].empty())
    for (const auto& [detector, score] : result["heads"][0]["scores"].items()) names.push_back(detector);
  const int panel_width = std::max<int>(static_cast<int>(s.heads) * kCell, 100) + kPanelLeft + kGap,
            panel_height = static_cast<int>(s.layers) * kCell + kPanelHead + kGap;
  const int across = std::min<int>(kPanelsAcross, std::max<int>(1, static_cast<int>(names.size()))),
            down = (static_cast<int>(names.size()) + across - 1) / across;
  const int width = std::max(kLeastWidth, 2 * kMargin + across * panel_width), bottom = kPanelTop + down * panel_height,
            height = bottom + kLegend;
  const Json& text = result["text"];
  std::string out = svg_begin("heads", width, height, "Scores of attention heads: layers down, heads across", style());
  out +=
      svg_text(kMargin, 26, "ink title", "Attention heads") +
      svg_text(kMargin, 44, "ink", "model: " + visible_text(result["model"].get<std::string>(), true)) +
      svg_text(kMargin, 58, "ink",
               fmt::format("text: {}, {} tokens", text["kind"].get<std::string>(), text["lengths"][0].get<int64_t>())) +
      svg_text(kMargin, 72, "faint", fmt::format("layers down, heads across; measure: {}", result["measure"].get<std::string>()));
  for (size_t i = 0; i < names.size(); ++i)
    out += panel(result, names[i], s, kMargin + kPanelLeft + static_cast<int>(i) % across * panel_width,
                 kPanelTop + kPanelHead + static_cast<int>(i) / across * panel_height);
  return out + legend(bottom) + "</svg>\n";
}

}  // namespace microtome::api
