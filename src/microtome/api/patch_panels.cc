#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "microtome/api/patch_picture.h"
#include "microtome/api/visible_text.h"

namespace microtome::api {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kStrongestHeads = 3, kStrongestRows = 24, kStrongestNeurons = 12, kWidestPaths = 40;

void flatten(const Json& v, std::vector<double>& out) {
  if (!v.is_array()) {
    out.push_back(v.is_number() ? v.get<double>() : kNone);
    return;
  }
  for (const Json& x : v) flatten(x, out);
}

std::vector<double> numbers(const Json& map, const char* field) {
  std::vector<double> out;
  flatten(map[field], out);
  return out;
}

std::string label(const Json& tick) { return tick.is_string() ? visible_text(tick.get<std::string>(), true) : tick.dump(); }

// The map's axes, and its cells in row-major order.
struct Grid {
  std::vector<std::string> names;
  std::vector<std::vector<std::string>> ticks;
  std::vector<double> values;
  double baseline = 0;

  explicit Grid(const Json& map) : values(numbers(map, "values")), baseline(map["baseline"].get<double>()) {
    for (const Json& name : map["axes"]) {
      names.push_back(name.get<std::string>());
      ticks.emplace_back();
      for (const Json& t : map["ticks"][names.back()]) ticks.back().push_back(label(t));
    }
  }
  bool has(std::string_view name) const { return std::find(names.begin(), names.end(), name) != names.end(); }
  std::vector<size_t> indices(size_t cell) const {
    std::vector<size_t> out(ticks.size());
    for (size_t a = ticks.size(); a-- > 0;) {
      out[a] = cell % ticks[a].size();
      cell /= ticks[a].size();
    }
    return out;
  }
  // Farther from the baseline; a number before none.
  bool farther(double a, double b) const {
    if (std::isnan(a)) return false;
    return std::isnan(b) || std::abs(a - baseline) > std::abs(b - baseline);
  }
};

// Several ablations: a part of the map for each.
std::vector<Grid> parts_of(const Grid& whole) {
  if (!whole.has("ablation")) return {whole};
  std::vector<Grid> out;
  const size_t n = whole.values.size() / whole.ticks[0].size();
  for (size_t k = 0; k < whole.ticks[0].size(); ++k) {
    Grid part = whole;
    part.names.erase(part.names.begin());
    part.ticks.erase(part.ticks.begin());
    part.values.assign(whole.values.begin() + static_cast<int64_t>(k * n),
                       whole.values.begin() + static_cast<int64_t>((k + 1) * n));
    out.push_back(std::move(part));
  }
  return out;
}

// What stands at a position: the token where all prompts agree on it, else its role, else nothing.
std::string token_label(const Json& map, size_t position) {
  if (position >= map["positions"].size()) return "";
  const Json& p = map["positions"][position];
  const auto single = [&](const char* side) { return p[side].size() == 1 ? visible_text(p[side][0].get<std::string>()) : ""; };
  const std::string clean = single("clean"), corrupted = single("corrupted");
  if (!clean.empty() && !corrupted.empty()) return clean == corrupted ? clean : clean + "/" + corrupted;
  return p.contains("role") ? visible_text(p["role"].get<std::string>()) : "…";
}

std::vector<std::string> tokens_below(const Json& map, const std::vector<std::string>& ticks) {
  std::vector<std::string> out;
  for (const std::string& t : ticks) out.push_back(token_label(map, std::stoul(t)));
  return out;
}

const char* axis_title(std::string_view name) {
  if (name == "pos") return "position";
  if (name == "dst") return "destination";
  if (name == "src") return "source";
  if (name == "layer") return "layer";
  if (name == "head") return "head";
  if (name == "neuron") return "neuron";
  return name == "from" ? "from" : "to";
}

// The first two axes, each place with the value farthest from the baseline over the rest.
PatchPanel reduced(const Grid& g) {
  PatchPanel p{.title = {},
               .row_axis = axis_title(g.names[0]),
               .column_axis = axis_title(g.names[1]),
               .rows = g.ticks[0],
               .columns = g.ticks[1]};
  const size_t rest = g.values.size() / (p.rows.size() * p.columns.size());
  for (size_t i = 0; i < p.rows.size() * p.columns.size(); ++i) {
    size_t best = i * rest;
    for (size_t k = 1; k < rest; ++k)
      if (g.farther(g.values[i * rest + k], g.values[best])) best = i * rest + k;
    p.values.push_back(g.values[best]);
    if (rest == 1) continue;
    const std::vector<size_t> at = g.indices(best);
    std::string note;
    for (size_t a = 2; a < at.size(); ++a)
      note += fmt::format("{}{} {}", note.empty() ? "at " : ", ", axis_title(g.names[a]), g.ticks[a][at[a]]);
    p.notes.push_back(std::move(note));
  }
  return p;
}

// Cells of the first two axes in the order of the values that `panel` shows, strongest first.
std::vector<size_t> strongest_places(const Grid& g, const PatchPanel& panel, size_t n) {
  std::vector<size_t> order(panel.values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return g.farther(panel.values[a], panel.values[b]); });
  std::erase_if(order, [&](size_t i) { return std::isnan(panel.values[i]) || panel.values[i] == g.baseline; });
  if (order.size() > n) order.resize(n);
  return order;
}

std::string place_name(const PatchPanel& panel, size_t place) {
  return fmt::format("{}.{}", panel.rows[place / panel.columns.size()], panel.columns[place % panel.columns.size()]);
}

// layer,head,pos: the strongest heads as rows over positions. layer,head,dst,src: the pattern of each of the strongest.
void add_strongest(const Json& map, const Grid& g, const PatchPanel& heads, std::vector<PatchPanel>& out) {
  const size_t rest = g.values.size() / heads.values.size();
  const auto values_of = [&](size_t place) {
    const auto from = g.values.begin() + static_cast<int64_t>(place * rest);
    return std::vector<double>(from, from + static_cast<int64_t>(rest));
  };
  if (g.ticks.size() == 3) {
    PatchPanel p{.title = "the strongest heads",
                 .row_axis = "head",
                 .column_axis = axis_title(g.names[2]),
                 .rows = {},
                 .columns = g.ticks[2]};
    p.columns_below = tokens_below(map, p.columns);
    for (const size_t place : strongest_places(g, heads, kStrongestRows)) {
      p.rows.push_back(place_name(heads, place));
      const std::vector<double> row = values_of(place);
      p.values.insert(p.values.end(), row.begin(), row.end());
    }
    if (!p.rows.empty()) out.push_back(std::move(p));
    return;
  }
  for (const size_t place : strongest_places(g, heads, kStrongestHeads)) {
    PatchPanel p{.title = "head " + place_name(heads, place),
                 .row_axis = axis_title(g.names[2]),
                 .column_axis = axis_title(g.names[3]),
                 .rows = g.ticks[2],
                 .columns = g.ticks[3]};
    p.columns_below = tokens_below(map, p.columns);
    p.values = values_of(place);
    out.push_back(std::move(p));
  }
}

// Each layer's strongest neurons, by rank.
PatchPanel neuron_panel(const Grid& g) {
  PatchPanel p{
      .title = "each layer's strongest neurons", .row_axis = "layer", .column_axis = "rank", .rows = g.ticks[0], .columns = {}};
  const size_t n = g.ticks[1].size(), shown = std::min(n, kStrongestNeurons);
  for (size_t k = 0; k < shown; ++k) p.columns.push_back(std::to_string(k + 1));
  std::vector<size_t> order(n);
  for (size_t l = 0; l < p.rows.size(); ++l) {
    std::iota(order.begin(), order.end(), l * n);
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return g.farther(g.values[a], g.values[b]); });
    for (size_t k = 0; k < shown; ++k) {
      p.values.push_back(g.values[order[k]]);
      p.notes.push_back("neuron " + g.ticks[1][order[k] - l * n]);
    }
  }
  return p;
}

// Senders that are heads and MLPs, as layers by heads (and a column for the MLP), for one receiver.
PatchPanel sender_panel(const Grid& g, size_t receiver) {
  PatchPanel p{.title = "to " + g.ticks[1][receiver], .row_axis = "layer", .column_axis = "sender", .rows = {}, .columns = {}};
  struct Place {
    int layer, head;
    double value;
  };
  std::vector<Place> places;
  int layers = 0, heads = 0;
  bool mlps = false;
  for (size_t s = 0; s < g.ticks[0].size(); ++s) {
    int layer = 0, head = 0;
    const double value = g.values[s * g.ticks[1].size() + receiver];
    if (std::sscanf(g.ticks[0][s].c_str(), "a%d.h%d", &layer, &head) == 2) heads = std::max(heads, head + 1);
    else if (std::sscanf(g.ticks[0][s].c_str(), "m%d", &layer) == 1) mlps = true, head = -1;
    else continue;
    layers = std::max(layers, layer + 1);
    places.push_back({layer, head, value});
  }
  for (int l = 0; l < layers; ++l) p.rows.push_back(std::to_string(l));
  for (int h = 0; h < heads; ++h) p.columns.push_back("h" + std::to_string(h));
  if (mlps) p.columns.emplace_back("MLP");
  p.values.assign(p.rows.size() * p.columns.size(), kNone);
  for (const Place& x : places) p.values[x.layer * p.columns.size() + (x.head < 0 ? heads : x.head)] = x.value;
  return p;
}

void add_paths(const Grid& g, std::vector<PatchPanel>& out) {
  if (g.ticks[0].size() <= kWidestPaths || g.ticks[1].size() > 8) {
    PatchPanel p = reduced(g);
    p.row_axis = "from", p.column_axis = "to";
    out.push_back(std::move(p));
    return;
  }
  for (size_t r = 0; r < g.ticks[1].size(); ++r) out.push_back(sender_panel(g, r));
}

void add_panels(const Json& map, const Grid& g, std::vector<PatchPanel>& out) {
  if (g.ticks.size() == 1) {
    out.push_back({.title = {},
                   .row_axis = "layer",
                   .column_axis = "",
                   .rows = g.ticks[0],
                   .columns = {"all"},
                   .columns_below = {},
                   .values = g.values});
  } else if (g.has("from")) {
    add_paths(g, out);
  } else if (g.has("neuron") && g.ticks[1].size() > kStrongestNeurons) {
    out.push_back(neuron_panel(g));
  } else {
    out.push_back(reduced(g));
    if (g.names[1] == "pos") out.back().columns_below = tokens_below(map, g.ticks[1]);
    if (g.ticks.size() > 2) add_strongest(map, g, PatchPanel(out.back()), out);
  }
}

std::string cell_name(const Grid& g, size_t cell) {
  const std::vector<size_t> at = g.indices(cell);
  if (g.has("from")) return fmt::format("{} → {}", g.ticks[0][at[0]], g.ticks[1][at[1]]);
  std::string out;
  const bool pair = g.names.size() == 2 && g.names[0] == "head";
  for (size_t a = 0; a < at.size(); ++a) {
    if (pair) out += (a ? " and " : "") + g.ticks[a][at[a]];
    else if (g.names[a] == "ablation") out += g.ticks[a][at[a]];
    else out += fmt::format("{}{} {}", out.empty() ? "" : ", ", axis_title(g.names[a]), g.ticks[a][at[a]]);
  }
  return out;
}

}  // namespace

std::vector<PatchPanel> patch_panels(const Json& map) {
  std::vector<PatchPanel> out;
  const Grid whole(map);
  const std::vector<Grid> parts = parts_of(whole);
  for (size_t k = 0; k < parts.size(); ++k) {
    const size_t first = out.size();
    add_panels(map, parts[k], out);
    if (parts.size() > 1)
      for (size_t i = first; i < out.size(); ++i)
        out[i].title = whole.ticks[0][k] + " ablation" + (out[i].title.empty() ? "" : ", " + out[i].title);
  }
  return out;
}

double patch_scale(const Json& map) {
  const Grid g(map);
  double largest = 0.01;
  for (const double v : g.values)
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v - g.baseline));
  return largest;
}

std::string patch_number(double value, double baseline, bool percent) {
  if (value == baseline) return "·";
  if (std::abs(value - baseline) < 0.005) return fmt::format("{:.0f}", percent ? 100 * baseline : baseline);
  return percent ? fmt::format("{:.0f}", 100 * value) : fmt::format("{:.2f}", value);
}

std::vector<PatchCell> patch_strongest(const Json& map, size_t n) {
  const Grid g(map);
  const std::vector<double> low = numbers(map, "low"), high = numbers(map, "high"), raw = numbers(map, "raw");
  std::vector<size_t> order(g.values.size());
  std::iota(order.begin(), order.end(), 0);
  const bool pairs = g.names.size() == 2 && g.names[0] == "head" && g.names[1] == "head";
  std::erase_if(order, [&](size_t i) {
    return std::isnan(g.values[i]) || g.values[i] == g.baseline || (pairs && i / g.ticks[0].size() > i % g.ticks[0].size());
  });
  const size_t kept = std::min(n, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(kept), order.end(), [&](size_t a, size_t b) {
    const double x = std::abs(g.values[a] - g.baseline), y = std::abs(g.values[b] - g.baseline);
    return x != y ? x > y : a < b;
  });
  std::vector<PatchCell> out;
  for (size_t k = 0; k < kept; ++k) {
    const size_t i = order[k];
    out.push_back({cell_name(g, i), g.values[i], low[i], high[i], raw[i]});
  }
  return out;
}

std::string patch_title(const Json& map) {
  const std::string metric = map["metric"].get<std::string>();
  const bool noise = map["direction"] == "noise";
  if (map.contains("heads")) return fmt::format("{}: two heads replaced together, beyond the sum of each", metric);
  const std::string what = map.contains("site")              ? map["site"].get<std::string>()
                           : map["through_mlps"].get<bool>() ? "paths through MLPs"
                                                             : "edges";
  if (map.contains("ablate")) {
    std::string kinds;
    for (const Json& k : map["ablate"]) kinds += (kinds.empty() ? "" : ", ") + visible_text(k.get<std::string>(), true);
    return fmt::format("{}: {} ablated ({}) in the {} run", metric, what, kinds, noise ? "clean" : "corrupted");
  }
  return fmt::format("{}: {} of the {} run put into the {} run", metric, what, noise ? "corrupted" : "clean",
                     noise ? "clean" : "corrupted");
}

std::string patch_caption(const Json& map) {
  if (map.contains("heads")) return "0: the two simply add up; below 0: together they take away more than their sum";
  return map["baseline"] == 1 ? "1: nothing changes; 0: as in the corrupted run" : "0: nothing changes; 1: as in the clean run";
}

}  // namespace microtome::api
