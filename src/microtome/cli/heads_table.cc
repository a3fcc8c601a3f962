#include "microtome/cli/heads_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr int kLabel = 3, kCell = 2, kGap = 3;
constexpr size_t kTop = 5;

// xterm's palette from dark to light, with text that reads on each.
struct Shade {
  int background, foreground;
};
constexpr Shade kShades[] = {{-1, -1},  {236, 255}, {17, 255}, {18, 255}, {24, 255}, {25, 255},
                             {31, 231}, {38, 16},   {45, 16},  {87, 16},  {159, 16}};

double number(const Json& x) { return x.is_number() ? x.get<double>() : std::nan(""); }
std::string shown(const Json& x) { return x.is_number() ? fmt::format("{:.3f}", x.get<double>()) : "-"; }

// "·" below half a percent, two digits of percent, "##" for one.
std::string cell(double score, bool colour) {
  if (std::isnan(score)) return pad("?", kCell, true);
  const auto percent = std::lround(100 * score);
  const std::string text = pad(percent >= 100   ? "##"
                               : percent <= -10 ? "--"
                               : percent <= 0   ? "·"
                                                : fmt::format("{}", percent),
                               kCell, true);
  if (!colour) return text;
  const Shade& s = kShades[std::clamp<long>(std::lround(10 * score), 0, 10)];
  return coloured(text, s.foreground, s.background);
}

std::vector<std::string> detectors_of(const Json& result) {
  std::vector<std::string> names;
  if (!result["heads"].empty())
    for (const auto& [name, score] : result["heads"][0]["scores"].items()) names.push_back(name);
  return names;
}

std::string head_name(const Json& h) {
  if (h["head"].is_null()) return "all of them";
  return h["layer"].is_null() ? fmt::format("{}", h["head"].get<int64_t>())
                              : fmt::format("{}.{}", h["layer"].get<int64_t>(), h["head"].get<int64_t>());
}

struct Grid {
  int64_t layers = 0, heads = 0;
};

Grid grid_of(const Json& result) {
  Grid g;
  for (const Json& h : result["heads"]) {
    g.layers = std::max(g.layers, (h["layer"].is_number() ? h["layer"].get<int64_t>() : 0) + 1);
    g.heads = std::max(g.heads, h["head"].get<int64_t>() + 1);
  }
  return g;
}

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string maps(const Json& result, int columns, bool colour) {
  const Grid g = grid_of(result);
  const std::vector<std::string> names = detectors_of(result);
  const int width = static_cast<int>(g.heads) * (kCell + 1) - 1;
  if (kLabel + 1 + width > columns) return "";  // more heads than the terminal is wide: the list below says it
  const auto across = static_cast<size_t>(std::max(1, (columns - kLabel - 1 + kGap) / (width + kGap)));
  std::string out;
  for (size_t begin = 0; begin < names.size(); begin += across) {
    const size_t end = std::min(names.size(), begin + across);
    std::string title = pad("", kLabel), head = pad("", kLabel);
    for (size_t i = begin; i < end; ++i) {
      const std::string gap(i == begin ? 1 : kGap, ' ');
      title += gap + pad(fit(names[i], width), width);
      head += gap;
      for (int64_t h = 0; h < g.heads; ++h) head += (h ? " " : "") + pad(fmt::format("{}", h % 100), kCell, true);
    }
    out += (begin ? "\n" : "") + trimmed(title) + trimmed(head);
    for (int64_t l = 0; l < g.layers; ++l) {
      std::string line = pad(fmt::format("{}", l), kLabel, true);
      for (size_t i = begin; i < end; ++i) {
        line += std::string(i == begin ? 1 : kGap, ' ');
        for (int64_t h = 0; h < g.heads; ++h) {
          const auto at = static_cast<size_t>(l * g.heads + h);
          line += (h ? " " : "") + cell(number(result["heads"][at]["scores"][names[i]]), colour);
        }
      }
      out += colour ? line + "\n" : trimmed(line);
    }
  }
  out += fit("scores in %: layers down, heads across; ## is 100, · below 1, -- below -10", columns) + "\n";
  if (!colour) return out;
  out += "scale:";
  for (int step = 0; step <= 10; step += 2)
    out += " " + coloured(fmt::format(" {} ", step * 10), kShades[step].foreground, kShades[step].background);
  return out + "\n";
}

std::string tops(const Json& result, int columns) {
  Table table(
      {{"detector"}, {"top heads"}, {"labels", Align::kRight}, {"control mean", Align::kRight}, {"control max", Align::kRight}});
  for (const std::string& name : detectors_of(result)) {
    std::vector<const Json*> order;
    for (const Json& h : result["heads"]) order.push_back(&h);
    std::stable_sort(order.begin(), order.end(),
                     [&](const Json* a, const Json* b) { return number((*a)["scores"][name]) > number((*b)["scores"][name]); });
    std::string list;
    for (size_t i = 0; i < std::min(kTop, order.size()); ++i)
      list += fmt::format("{}{} {:.2f}", i ? "  " : "", head_name(*order[i]), number((*order[i])["scores"][name]));
    size_t labels = 0;
    for (const Json& l : result["labels"]) labels += l["detector"] == name ? 1 : 0;
    const auto control = result["controls"].find(name);
    const bool known = control != result["controls"].end() && control->contains("mean");
    table.row(
        {name, list, fmt::format("{}", labels), known ? shown((*control)["mean"]) : "-", known ? shown((*control)["max"]) : "-"});
  }
  return table.text(columns);
}

std::string verified(const Json& result, int columns) {
  Table table({{"detector"},
               {"ablated"},
               {"task"},
               {"metric"},
               {"as it is", Align::kRight},
               {"change", Align::kRight},
               {"random heads", Align::kRight},
               {"sd", Align::kRight},
               {"draws", Align::kRight}});
  std::string failed;
  for (const Json& v : result["verified"]) {
    if (v.contains("reason")) {
      failed += fit(inert(fmt::format("{}: not verified: {}", v["detector"].get<std::string>(), v["reason"].get<std::string>())),
                    columns) +
                "\n";
      continue;
    }
    std::string ablated = head_name(v);
    if (v["head"].is_null()) ablated = fmt::format("{} heads", v["heads"].size());
    table.row({v["detector"].get<std::string>(), ablated, v["task"].get<std::string>(), v["metric"].get<std::string>(),
               shown(v["base"]), fmt::format("{:+.3f}", number(v["effect"])), shown(v["control_mean"]), shown(v["control_sd"]),
               v["draws"].dump()});
  }
  return "\n" + fit("mean ablation (attention: path patching), and as many random heads of the same layers:", columns) + "\n" +
         table.text(columns) + failed;
}

}  // namespace

std::string heads_table(const Json& result, int columns, bool colour) {
  const Json& text = result["text"];
  std::string out = fit("Attention heads of " + inert(result["model"].get<std::string>()), columns) + "\n";
  std::string about =
      fmt::format("{} text{} of {} tokens ({}), measure {}", text["lengths"].size(), text["lengths"].size() == 1 ? "" : "s",
                  text["lengths"][0].get<int64_t>(), text["kind"].get<std::string>(), result["measure"].get<std::string>());
  out += fit(about, columns) + "\n";
  if (result.contains("loss"))
    out += fit(fmt::format("loss {} the first time, {} when repeated (nats)", shown(result["loss"]["first"]),
                           shown(result["loss"]["repeated"])),
               columns) +
           "\n";
  out += "\n" + maps(result, columns, colour) + "\n" + tops(result, columns);
  if (!result["verified"].empty()) out += verified(result, columns);
  return out;
}

}  // namespace microtome::cli
