#include "microtome/cli/lens_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/lens_picture.h"
#include "microtome/api/visible_text.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr int kLabel = 7, kLeastCell = 9, kWidestCell = 16;

// xterm's palette, from dark grey over blue to a light cyan, with a text colour that reads on each.
struct Shade {
  int background, foreground;
};
constexpr Shade kShades[] = {{-1, -1},  {236, 255}, {17, 255}, {18, 255}, {24, 255}, {25, 255},
                             {31, 231}, {38, 16},   {45, 16},  {87, 16},  {159, 16}};

std::string text_of(const Json& token) { return api::visible_text(token["text"].get<std::string>()); }
double value(const Json& x) { return x.is_number() ? x.get<double>() : std::nan(""); }
double probability(const Json& token) { return std::exp(value(token["logprob"])); }

std::string percent(double p) { return std::isnan(p) ? "?" : fmt::format("{:.1f}", 100 * p); }

std::string title(const Json& lens, int columns) {
  std::string prompt;
  for (const Json& t : lens["tokens"]) prompt += t["text"].get<std::string>();
  return fit("Logit lens of " + inert(lens["model"].get<std::string>()) + ": " + api::visible_text(prompt, true), columns) + "\n";
}

std::string painted(const std::string& text, double p, bool colour) {
  if (!colour) return text;
  const int step = std::clamp(static_cast<int>(std::lround(p * 10)), 0, 10);
  return coloured(text, kShades[step].foreground, kShades[step].background);
}

// "·Lisbon 43": the token, and its probability in percent at the right.
std::string cell_text(const Json& cell, int width) {
  if (cell["top"].empty()) return pad("", width);
  const double p = probability(cell["top"][0]);
  const std::string percent = std::isnan(p) ? "?" : fmt::format("{:.0f}", 100 * p);
  const int room = width - static_cast<int>(percent.size()) - 1;
  return pad(fit(text_of(cell["top"][0]), room), room) + " " + percent;
}

std::string grid_block(const Json& lens, size_t begin, size_t end, int width, bool colour) {
  std::string out = pad("layer", kLabel - 1, true);
  for (size_t i = begin; i < end; ++i) {
    const int64_t position = lens["positions"][i].get<int64_t>();
    out += " " + pad(fit(fmt::format("{}:{}", position, text_of(lens["tokens"][position])), width), width);
  }
  out.erase(out.find_last_not_of(' ') + 1);
  out += "\n";
  for (size_t p = 0; p < lens["points"].size(); ++p) {
    out += pad(api::lens_point_label(lens, p), kLabel - 1, true);
    for (size_t i = begin; i < end; ++i) {
      const Json& cell = lens["cells"][p][i];
      out += " " + painted(cell_text(cell, width), cell["top"].empty() ? 0 : probability(cell["top"][0]), colour);
    }
    out += "\n";
  }
  return out;
}

std::string grid(const Json& lens, int columns, bool colour) {
  const int n = static_cast<int>(lens["positions"].size());
  // As few blocks as the narrowest cells allow, all of one width.
  const int most = std::max(1, (columns - kLabel + 1) / (kLeastCell + 1)), blocks = (n + most - 1) / most;
  const int across = (n + blocks - 1) / blocks;
  const int width = std::clamp((columns - kLabel + 1) / across - 1, kLeastCell, kWidestCell);
  std::string out;
  for (int begin = 0; begin < n; begin += across)
    out += (begin ? "\n" : "") + grid_block(lens, begin, std::min(n, begin + across), width, colour);
  out += fit("each cell: the most probable next token and its probability in %", columns);
  if (colour) {
    out += "\nprobability in %:";
    for (int step = 0; step <= 10; step += 2) out += " " + painted(fmt::format(" {} ", step * 10), step / 10.0, true);
  }
  return out + "\n";
}

// As many of the top tokens as fit.
std::string tops(const Json& cell, int columns) {
  std::string out;
  for (const Json& t : cell["top"]) {
    const std::string next =
        fmt::format("{}{} {}", out.empty() ? "" : "  ", pad(fit(text_of(t), 14), out.empty() ? 12 : 0), percent(probability(t)));
    if (!out.empty() && display_width(out) + display_width(next) > columns) break;
    out += next;
  }
  return out;
}

std::string one_position(const Json& lens, int columns) {
  const Json& cells = lens["cells"];
  const bool target = !cells.empty() && cells[0][0].contains("target");
  std::vector<Table::Column> heads{{"layer", Align::kRight}, {"entropy", Align::kRight}, {"KL to end", Align::kRight}};
  if (target) {
    heads.push_back({"target %", Align::kRight});
    heads.push_back({"rank", Align::kRight});
  }
  heads.push_back({"most probable next tokens, %"});
  Table table(heads);
  for (size_t p = 0; p < cells.size(); ++p) {
    const Json& cell = cells[p][0];
    std::vector<std::string> row{api::lens_point_label(lens, p), fmt::format("{:.2f}", value(cell["entropy"])),
                                 fmt::format("{:.2f}", value(cell["kl_to_final"]))};
    if (target && cell["target"].is_object()) {
      row.push_back(percent(probability(cell["target"])));
      row.push_back(cell["target"]["rank"].dump());
    } else if (target) {
      row.insert(row.end(), {"-", "-"});
    }
    row.push_back(tops(cell, columns - (target ? 46 : 28)));
    table.row(row);
  }
  const int64_t position = lens["positions"][0].get<int64_t>();
  std::string out =
      fit(fmt::format("position {} after {}; entropy and KL in nats", position, text_of(lens["tokens"][position])), columns) +
      "\n";
  if (target && cells.back()[0]["target"].is_object())
    out += "target: " + fit(text_of(cells.back()[0]["target"]), columns - 8) + "\n";
  return out + table.text(columns);
}

}  // namespace

std::string lens_table(const Json& lens, int columns, bool colour) {
  return title(lens, columns) + (lens["positions"].size() == 1 ? one_position(lens, columns) : grid(lens, columns, colour));
}

}  // namespace microtome::cli
