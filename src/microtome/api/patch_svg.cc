#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/patch_picture.h"
#include "microtome/api/svg.h"
#include "microtome/api/visible_text.h"
#include "microtome/base/utf8.h"

namespace microtome::api {
namespace {

// Pixels.
constexpr int kCellWidth = 46, kCellHeight = 19, kLeft = 84, kMargin = 16, kHead = 92, kPanelHead = 58, kGap = 26, kLegend = 66,
              kLeastWidth = 640;
constexpr int kSteps = 8;  // of each sign

using Triple = std::array<double, 3>;
// OKLab (Ottosson 2020): the background, and the two hues at their strongest, orange above the baseline and blue below it.
struct Hues {
  Triple background, above, below;
};
constexpr Hues kLight{{0.985, 0, 0}, {0.60, 0.10, 0.11}, {0.50, -0.03, -0.15}};
constexpr Hues kDark{{0.20, -0.002, -0.012}, {0.78, 0.07, 0.12}, {0.72, -0.05, -0.12}};

struct Colour {
  std::string fill, text;
};

Colour colour_of(int step, bool dark) {
  const Hues& hues = dark ? kDark : kLight;
  const Triple& end = step >= 0 ? hues.above : hues.below;
  const double t = static_cast<double>(std::abs(step)) / kSteps;
  Triple lab;
  for (int i = 0; i < 3; ++i) lab[i] = hues.background[i] + t * (end[i] - hues.background[i]);
  const double l = std::pow(lab[0] + 0.3963377774 * lab[1] + 0.2158037573 * lab[2], 3);
  const double m = std::pow(lab[0] - 0.1055613458 * lab[1] - 0.0638541728 * lab[2], 3);
  const double s = std::pow(lab[0] - 0.0894841775 * lab[1] - 1.2914855480 * lab[2], 3);
  Triple rgb{4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s, -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
             -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
  std::array<int, 3> bytes{};
  for (int i = 0; i < 3; ++i) {
    rgb[i] = std::clamp(rgb[i], 0.0, 1.0);
    bytes[i] =
        static_cast<int>(std::lround(255 * (rgb[i] <= 0.0031308 ? 12.92 * rgb[i] : 1.055 * std::pow(rgb[i], 1 / 2.4) - 0.055)));
  }
  // Black reads better than white above this luminance (WCAG 2).
  const double luminance = 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2];
  return {fmt::format("#{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2]), luminance > 0.179 ? "#000000" : "#ffffff"};
}

int step_of(double value, double baseline, double scale) {
  return static_cast<int>(
      std::clamp(std::lround((value - baseline) / scale * kSteps), static_cast<long>(-kSteps), static_cast<long>(kSteps)));
}

std::string class_of(int step) { return step < 0 ? fmt::format("n{}", -step) : fmt::format("p{}", step); }

std::string cut(std::string_view text, size_t characters) {
  std::string out;
  for (size_t used = 0; !text.empty(); ++used) {
    const size_t n = std::max<size_t>(utf8_length(text), 1);
    if (used + 1 >= characters && text.size() > n) return out + "…";
    out += text.substr(0, n);
    text.remove_prefix(n);
  }
  return out;
}

std::string style() {
  SvgRules rules{.sizes = ".patch .cell text,.patch .small{font-size:9.5px}",
                 .light = ".patch .none{fill:none;stroke:#c9ced4;stroke-dasharray:2 2}",
                 .dark = ".patch .none{stroke:#3a424b}"};
  for (int step = -kSteps; step <= kSteps; ++step) {
    const Colour light = colour_of(step, false), night = colour_of(step, true);
    const std::string name = class_of(step);
    rules.light += fmt::format(".patch .{0} rect{{fill:{1}}}.patch .{0} text{{fill:{2}}}", name, light.fill, light.text);
    rules.dark += fmt::format(".patch .{0} rect{{fill:{1}}}.patch .{0} text{{fill:{2}}}", name, night.fill, night.text);
  }
  return svg_style("patch", 11, rules);
}

std::string heading(const Json& map, int width) {
  const auto room = static_cast<size_t>(std::max(20, (width - 2 * kMargin) / 7));
  const std::string runs = fmt::format(
      "model: {}; {}: {} prompt{}; {} {:.4g} clean, {:.4g} corrupted", visible_text(map["model"].get<std::string>(), true),
      visible_text(map["task"].get<std::string>(), true), map["prompts"].get<int64_t>(), map["prompts"] == 1 ? "" : "s",
      map["metric"].get<std::string>(), map["clean"].get<double>(), map["corrupted"].get<double>());
  return svg_text(kMargin, 28, "ink title", cut(patch_title(map), room * 7 / 10)) +
         svg_text(kMargin, 48, "ink", cut(runs, room)) +
         svg_text(kMargin, 65, "faint",
                  cut(fmt::format("method: {}; {}", map["method"].get<std::string>(), patch_caption(map)), room));
}

std::string cell(const PatchPanel& p, size_t r, size_t c, int x, int y, double baseline, double scale) {
  const double value = p.at(r, c);
  if (std::isnan(value))
    return fmt::format("<rect class=\"none\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n", x, y, kCellWidth - 1,
                       kCellHeight - 1);
  std::string words = fmt::format("{} {}, {} {}: {:.4f}", p.row_axis, p.rows[r], p.column_axis, p.columns[c], value);
  if (!p.columns_below.empty()) words += " (" + p.columns_below[c] + ")";
  if (!p.notes.empty() && !p.notes[r * p.columns.size() + c].empty()) words += ", " + p.notes[r * p.columns.size() + c];
  return fmt::format(
      "<g class=\"cell {}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/><text x=\"{}\" y=\"{}\" "
      "text-anchor=\"middle\">{}</text></g>\n",
      class_of(step_of(value, baseline, scale)), svg_escaped(words), x, y, kCellWidth - 1, kCellHeight - 1, x + kCellWidth / 2,
      y + 13, patch_number(value, baseline));
}

std::string panel(const PatchPanel& p, int top, double baseline, double scale) {
  std::string out;
  if (!p.title.empty()) out += svg_text(kMargin, top + 14, "ink", p.title);
  const int head = top + kPanelHead;
  out += svg_text(kLeft, head - 32, "faint", p.column_axis);
  for (size_t c = 0; c < p.columns.size(); ++c) {
    const int x = kLeft + static_cast<int>(c) * kCellWidth + kCellWidth / 2;
    out += svg_text(x, head - 18, "ink", cut(p.columns[c], 9), " text-anchor=\"middle\"");
    if (!p.columns_below.empty())
      out += svg_text(x, head - 5, "faint small", cut(p.columns_below[c], 8), " text-anchor=\"middle\"");
  }
  for (size_t r = 0; r < p.rows.size(); ++r) {
    const int y = head + static_cast<int>(r) * kCellHeight;
    out += svg_text(kLeft - 6, y + 13, "ink", cut(p.rows[r], 8), " text-anchor=\"end\"");
    for (size_t c = 0; c < p.columns.size(); ++c)
      out += cell(p, r, c, kLeft + static_cast<int>(c) * kCellWidth, y, baseline, scale);
  }
  const int middle = head + static_cast<int>(p.rows.size()) * kCellHeight / 2;
  return out + svg_text(16, middle, "faint", p.row_axis,
                        fmt::format(" text-anchor=\"middle\" transform=\"rotate(-90 16 {})\"", middle));
}

std::string legend(int top, double baseline, double scale) {
  std::string out = svg_text(kLeft, top + 12, "faint", "normalised metric; ·: nothing changed; dashed: no such place");
  for (int step = -kSteps; step <= kSteps; ++step)
    out += fmt::format("<g class=\"{}\"><rect x=\"{}\" y=\"{}\" width=\"18\" height=\"12\"/></g>\n", class_of(step),
                       kLeft + (step + kSteps) * 18, top + 18);
  const int width = 18 * (2 * kSteps + 1);
  out += fmt::format("<rect class=\"edge\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"12\"/>\n", kLeft, top + 18, width);
  return out + svg_text(kLeft, top + 44, "ink", fmt::format("{:.2f}", baseline - scale)) +
         svg_text(kLeft + width / 2, top + 44, "ink", fmt::format("{:.0f}", baseline), " text-anchor=\"middle\"") +
         svg_text(kLeft + width, top + 44, "ink", fmt::format("{:.2f}", baseline + scale), " text-anchor=\"end\"");
}

}  // namespace

std::string patch_svg(const Json& map) {
  const std::vector<PatchPanel> panels = patch_panels(map);
  const double baseline = map["baseline"].get<double>(), scale = patch_scale(map);
  int width = kLeastWidth, bottom = kHead;
  std::string body;
  for (const PatchPanel& p : panels) {
    body += panel(p, bottom, baseline, scale);
    width = std::max(width, kLeft + static_cast<int>(p.columns.size()) * kCellWidth + kMargin);
    bottom += kPanelHead + static_cast<int>(p.rows.size()) * kCellHeight + kGap;
  }
  const int height = bottom + kLegend;
  return svg_begin("patch", width, height, patch_title(map), style()) + heading(map, width) + body +
         legend(bottom, baseline, scale) + "</svg>\n";
}

}  // namespace microtome::api
