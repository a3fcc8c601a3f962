#include "microtome/api/lens_picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "microtome/api/colour_ramp.h"
#include "microtome/api/lens_page.h"
#include "microtome/api/svg.h"
#include "microtome/api/visible_text.h"
#include "microtome/base/utf8.h"

namespace microtome::api {
namespace {

// Pixels.
constexpr int kCellWidth = 104, kCellHeight = 22, kLeft = 78, kHead = 112, kMargin = 16, kLegend = 74, kTokenColumns = 11,
              kLeastWidth = 660;

// Cut to so many columns of a fixed-width face; East Asian characters take two.
std::string cut(std::string_view text, int columns) {
  std::string out;
  int used = 0;
  while (!text.empty()) {
    const size_t n = std::max<size_t>(utf8_length(text), 1);
    const int width =
        n >= 3 && utf8_decode(text, n) >= 0x1100 && !(utf8_decode(text, n) >= 0x2000 && utf8_decode(text, n) < 0x2E80) ? 2 : 1;
    if (used + width > columns - (text.size() > n ? 1 : 0)) return out + "…";
    out += text.substr(0, n);
    used += width;
    text.remove_prefix(n);
  }
  return out;
}

double number(const Json& value) { return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN(); }

std::string percent(double logprob) {
  const double p = 100 * std::exp(logprob);
  return std::isnan(p) ? "?" : fmt::format("{:.3g} %", p < 1e-4 ? 0 : p);
}

std::string text_of(const Json& token) { return token["text"].get<std::string>(); }

const Json* target_of(const Json& cell) {
  const auto it = cell.find("target");
  return it == cell.end() || it->is_null() ? nullptr : &*it;
}

bool has_target(const Json& lens) {
  for (const Json& row : lens["cells"])
    for (const Json& cell : row)
      if (target_of(cell)) return true;
  return false;
}

// What the colour shows.
double shown_probability(const Json& cell, bool targets) {
  if (targets) return target_of(cell) ? std::exp(number((*target_of(cell))["logprob"])) : 0;
  return cell["top"].empty() ? 0 : std::exp(number(cell["top"][0]["logprob"]));
}

// The number at the right of a cell: probability in percent, or the target's rank.
std::string cell_number(const Json& cell, bool targets) {
  if (targets) return target_of(cell) ? fmt::format("#{}", (*target_of(cell))["rank"].get<int64_t>()) : "";
  return cell["top"].empty() ? "" : fmt::format("{:.0f}", 100 * shown_probability(cell, false));
}

// The cell in words, for hovering and for screen readers.
std::string cell_description(const Json& lens, size_t point, size_t column) {
  const Json& cell = lens["cells"][point][column];
  const int64_t position = lens["positions"][column].get<int64_t>();
  std::string out = fmt::format("{}, position {} after {}\n", lens["points"][point].get<std::string>(), position,
                                visible_text(text_of(lens["tokens"][position])));
  for (const Json& t : cell["top"]) out += fmt::format("{}  {}\n", visible_text(text_of(t)), percent(number(t["logprob"])));
  out += fmt::format("entropy {:.3f} nats, KL to the end {:.3f} nats", number(cell["entropy"]), number(cell["kl_to_final"]));
  if (const Json* t = target_of(cell))
    out += fmt::format("\ntarget {}  {}, rank {}", visible_text(text_of(*t)), percent(number((*t)["logprob"])),
                       (*t)["rank"].get<int64_t>());
  return out;
}

std::string prompt_text(const Json& lens) {
  std::string out;
  for (const Json& t : lens["tokens"]) out += text_of(t);
  return visible_text(out, true);
}

std::string style() {
  SvgRules rules{.sizes = ".lens .small{font-size:9px}", .light = "", .dark = ""};
  for (int step = 0; step < kRampSteps; ++step) {
    const RampColour light = ramp_colour(step, false), night = ramp_colour(step, true);
    rules.light += fmt::format(".lens .c{0} rect{{fill:{1}}}.lens .c{0} text{{fill:{2}}}", step, light.fill, light.text);
    rules.dark += fmt::format(".lens .c{0} rect{{fill:{1}}}.lens .c{0} text{{fill:{2}}}", step, night.fill, night.text);
  }
  return svg_style("lens", 11, rules);
}

std::string heading(const Json& lens, bool targets, int width) {
  const int columns = std::max(20, (width - 2 * kMargin) / 7);
  const std::string shown = targets ? "probability of the target; numbers: its rank" : "its probability; numbers: in %";
  return svg_text(kMargin, 26, "ink title", "Logit lens") +
         svg_text(kMargin, 44, "ink",
                  cut(fmt::format("model: {}", visible_text(lens["model"].get<std::string>(), true)), columns)) +
         svg_text(kMargin, 59, "ink", cut("prompt: " + prompt_text(lens), columns)) +
         svg_text(kMargin, 74, "faint", "each cell: the most probable next token; colour: " + shown);
}

std::string axes(const Json& lens, int rows, int columns) {
  std::string out = svg_text(kLeft, kHead - 20, "faint", "position: input token");
  for (int c = 0; c < columns; ++c) {
    const int64_t position = lens["positions"][c].get<int64_t>();
    out += svg_text(kLeft + c * kCellWidth + 4, kHead - 5, "ink",
                    cut(fmt::format("{}: {}", position, visible_text(text_of(lens["tokens"][position]))), 15));
  }
  for (int r = 0; r < rows; ++r)
    out += svg_text(kLeft - 6, kHead + r * kCellHeight + 15, "ink", lens_point_label(lens, r), " text-anchor=\"end\"");
  const int middle = kHead + rows * kCellHeight / 2;
  out += svg_text(18, middle, "faint", "layer", fmt::format(" text-anchor=\"middle\" transform=\"rotate(-90 18 {})\"", middle));
  return out;
}

std::string grid(const Json& lens, bool targets) {
  std::string out;
  for (size_t r = 0; r < lens["points"].size(); ++r)
    for (size_t c = 0; c < lens["positions"].size(); ++c) {
      const Json& cell = lens["cells"][r][c];
      const int x = kLeft + static_cast<int>(c) * kCellWidth, y = kHead + static_cast<int>(r) * kCellHeight;
      const std::string token = cell["top"].empty() ? "" : cut(visible_text(text_of(cell["top"][0])), kTokenColumns);
      out += fmt::format(
          "<g class=\"cell c{}\" data-p=\"{}\" data-i=\"{}\"><title>{}</title><rect x=\"{}\" y=\"{}\" width=\"{}\" "
          "height=\"{}\"/>"
          "<text x=\"{}\" y=\"{}\">{}</text><text class=\"small\" x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text></g>\n",
          ramp_step(shown_probability(cell, targets)), r, c, svg_escaped(cell_description(lens, r, c)), x, y, kCellWidth - 1,
          kCellHeight - 1, x + 4, y + 14, svg_escaped(token), x + kCellWidth - 4, y + 14, cell_number(cell, targets));
    }
  return out;
}

std::string legend(bool targets, int top) {
  std::string out = svg_text(kLeft, top + 14, "faint legend-title",
                             targets ? "probability of the target" : "probability of the most probable token");
  for (int step = 0; step < kRampSteps; ++step)
    out += fmt::format("<g class=\"c{}\"><rect x=\"{}\" y=\"{}\" width=\"20\" height=\"12\"/></g>\n", step, kLeft + step * 20,
                       top + 20);
  out += fmt::format("<rect class=\"edge\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"12\"/>\n", kLeft, top + 20, 20 * kRampSteps);
  out += svg_text(kLeft, top + 45, "ink legend-low", "0") +
         svg_text(kLeft + 20 * kRampSteps, top + 45, "ink legend-high", "1", " text-anchor=\"end\"");
  return out + svg_text(kLeft, top + 62, "faint", "layer n: the stream before block n; end: what the model unembeds itself");
}

}  // namespace

std::string lens_point_label(const Json& lens, size_t point) {
  if (point + 1 == lens["points"].size()) return "end";
  const std::string name = lens["points"][point].get<std::string>();
  if (!name.starts_with("blocks.")) return visible_text(name);
  const std::string layer = name.substr(7, name.find('.', 7) - 7);
  return name.ends_with("resid_mid") ? layer + " mid" : layer;
}

std::string lens_svg(const Json& lens) {
  const int rows = static_cast<int>(lens["points"].size()), columns = static_cast<int>(lens["positions"].size());
  const bool targets = has_target(lens);
  const int width = std::max(kLeastWidth, kLeft + columns * kCellWidth + kMargin), bottom = kHead + rows * kCellHeight,
            height = bottom + kLegend;
  return svg_begin("lens", width, height, "Logit lens: layers down, positions across", style()) + heading(lens, targets, width) +
         axes(lens, rows, columns) + grid(lens, targets) + legend(targets, bottom) + "</svg>\n";
}

std::string lens_html(const Json& lens) {
  // In a script element only "<" could end the data.
  std::string data;
  for (const char c : dump_json(lens)) data += c == '<' ? std::string("\\u003c") : std::string(1, c);
  const std::string model = svg_escaped(visible_text(lens["model"].get<std::string>(), true));
  return fmt::format(kLensPage, fmt::arg("model", model), fmt::arg("prompt", svg_escaped(prompt_text(lens))),
                     fmt::arg("svg", lens_svg(lens)), fmt::arg("data", data),
                     fmt::arg("target_option", has_target(lens) ? kTargetOptions : ""));
}

}  // namespace microtome::api
