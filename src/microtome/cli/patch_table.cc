#include "microtome/cli/patch_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/patch_picture.h"
#include "microtome/api/visible_text.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr int kWidest = 7, kWide = 5, kNarrow = 4;  // cells: "-0.12", or percent "-12"

// xterm's palette from dark to light, with text that reads on each: blue below the baseline, orange above it.
struct Shade {
  int background, foreground;
};
constexpr Shade kAbove[] = {{-1, -1}, {236, 255}, {52, 255}, {94, 255}, {130, 231}, {166, 16}, {208, 16}, {215, 16}, {222, 16}};
constexpr Shade kBelow[] = {{-1, -1}, {236, 255}, {17, 255}, {18, 255}, {24, 255}, {25, 231}, {38, 16}, {45, 16}, {123, 16}};
constexpr int kSteps = 8;

struct Look {
  double baseline = 0, scale = 1;
  bool colour = false;
};

std::string painted(const std::string& text, double value, const Look& look) {
  if (!look.colour || std::isnan(value)) return text;
  const auto step = std::clamp<long>(std::lround((value - look.baseline) / look.scale * kSteps), -kSteps, kSteps);
  const Shade& s = step >= 0 ? kAbove[step] : kBelow[-step];
  return coloured(text, s.foreground, s.background);
}

std::string cell_text(double value, double baseline, int width) {
  return pad(std::isnan(value) ? "" : api::patch_number(value, baseline, width < kWide), width, true);
}

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string block(const api::PatchPanel& p, size_t begin, size_t end, int label, int width, const Look& look) {
  std::string head = pad(fit(p.row_axis, label), label, true), below = pad("", label);
  for (size_t c = begin; c < end; ++c) {
    head += " " + pad(fit(p.columns[c], width), width, true);
    if (!p.columns_below.empty()) below += " " + pad(fit(p.columns_below[c], width), width, true);
  }
  std::string out = trimmed(head) + (p.columns_below.empty() ? "" : trimmed(below));
  for (size_t r = 0; r < p.rows.size(); ++r) {
    std::string line = pad(fit(p.rows[r], label), label, true);
    for (size_t c = begin; c < end; ++c) line += " " + painted(cell_text(p.at(r, c), look.baseline, width), p.at(r, c), look);
    out += look.colour ? line + "\n" : trimmed(line);
  }
  return out;
}

std::string panel_text(const api::PatchPanel& p, int columns, const Look& look, bool& percent) {
  int label = display_width(p.row_axis);
  for (const std::string& r : p.rows) label = std::max(label, std::min(16, display_width(r)));
  const auto fits = [&](int width) { return static_cast<size_t>(std::max(1, (columns - label) / (width + 1))); };
  // As wide as the labels, where there is room.
  int wish = kWide;
  for (const auto* labels : {&p.columns, &p.columns_below})
    for (const std::string& l : *labels) wish = std::max(wish, std::min(kWidest, display_width(l)));
  const auto fit_all = [&](int w) { return p.columns.size() <= fits(w); };
  const int width = fit_all(wish) ? wish : fit_all(kWide) ? kWide : kNarrow;
  percent = percent || width == kNarrow;
  const size_t blocks = (p.columns.size() + fits(width) - 1) / fits(width),
               across = (p.columns.size() + blocks - 1) / std::max<size_t>(1, blocks);
  std::string out = p.title.empty() ? "" : fit(p.title, columns) + "\n";
  if (!p.column_axis.empty()) out += fit(pad("", label + 1) + p.column_axis + " →", columns) + "\n";
  for (size_t begin = 0; begin < p.columns.size(); begin += across)
    out += (begin ? "\n" : "") + block(p, begin, std::min(p.columns.size(), begin + across), label, width, look);
  return out;
}

std::string scale_text(const Look& look) {
  std::string out = "scale:";
  for (const double t : {-1.0, -0.5, 0.0, 0.5, 1.0}) {
    const double v = look.baseline + t * look.scale;
    out += " " + painted(fmt::format(" {:.2f} ", v), v, look);
  }
  return out + "\n";
}

std::string strongest_text(const Json& map, int columns) {
  const bool interval = map["prompts"].get<int64_t>() > 1;
  std::vector<Table::Column> heads{{"strongest"}, {"value", Align::kRight}};
  if (interval) heads.push_back({"95 % interval", Align::kRight});
  heads.push_back({map["metric"].get<std::string>(), Align::kRight});
  Table table(heads);
  const auto cells = api::patch_strongest(map, 8);
  for (const api::PatchCell& c : cells) {
    std::vector<std::string> row{c.name, fmt::format("{:.3f}", c.value)};
    if (interval) row.push_back(std::isnan(c.low) ? "-" : fmt::format("{:.3f} to {:.3f}", c.low, c.high));
    row.push_back(fmt::format("{:.3f}", c.raw));
    table.row(row);
  }
  return cells.empty() ? "no place has an effect\n" : table.text(columns);
}

std::string heads_text(const Json& map, int columns) {
  Table table({{"head"}, {"alone", Align::kRight}, {"95 % interval", Align::kRight}});
  for (const Json& h : map["heads"]) {
    const bool interval = h["low"].is_number() && std::isfinite(h["low"].get<double>());
    const double value = h["value"].is_number() ? h["value"].get<double>() : std::nan("");
    table.row({h["name"].get<std::string>(), fmt::format("{:.3f}", value),
               interval ? fmt::format("{:.3f} to {:.3f}", h["low"].get<double>(), h["high"].get<double>()) : "-"});
  }
  std::string out = table.text(columns) + "\n";
  if (map["clusters"].empty()) return out + "no two of them stand in for each other\n";
  for (const Json& group : map["clusters"]) {
    std::string names;
    for (const Json& n : group) names += (names.empty() ? "" : " ") + n.get<std::string>();
    out += fit("stand in for each other: " + names, columns) + "\n";
  }
  return out;
}

std::string cost_text(const Json& map, int columns) {
  const double plain = map["macs"]["plain"].get<double>(), executed = map["macs"]["executed"].get<double>();
  std::string out = fmt::format("{:.1f} s, {} multiply-adds", map["seconds"].get<double>(), count_text(executed));
  if (executed > 0 && plain > executed) out += fmt::format(", {:.1f} times fewer than a run for each place", plain / executed);
  return fit(out, columns) + "\n";
}

}  // namespace

std::string patch_table(const Json& map, int columns, bool colour) {
  const Look look{map["baseline"].get<double>(), api::patch_scale(map), colour};
  std::string out = fit(api::patch_title(map), columns) + "\n";
  out += fit(fmt::format("{}, {}, {} prompt{}: {:.3f} clean, {:.3f} corrupted", inert(map["model"].get<std::string>()),
                         inert(map["task"].get<std::string>()), map["prompts"].get<int64_t>(), map["prompts"] == 1 ? "" : "s",
                         map["clean"].get<double>(), map["corrupted"].get<double>()),
             columns) +
         "\n";
  bool percent = false;
  for (const api::PatchPanel& p : api::patch_panels(map)) out += "\n" + panel_text(p, columns, look, percent);
  out += fit(api::patch_caption(map) + (percent ? "; in % where cells are narrow" : ""), columns) + "\n";
  if (colour) out += scale_text(look);
  out += "\n" + strongest_text(map, columns);
  if (map.contains("heads")) out += "\n" + heads_text(map, columns);
  if (map.contains("correlation"))
    out += fit(fmt::format(
                   "correlation with exact patches: {}",
                   map["correlation"].is_array()
                       ? dump_json(map["correlation"])
                       : fmt::format("{:.3f}", map["correlation"].is_number() ? map["correlation"].get<double>() : std::nan(""))),
               columns) +
           "\n";
  out += "\n" + cost_text(map, columns);
  return out;
}

}  // namespace microtome::cli
