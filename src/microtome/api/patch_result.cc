#include "microtome/api/patch_result.h"

#include <nlohmann/json.hpp>

namespace microtome::api {
namespace {

// Row-major numbers as nested lists.
Json nested(const double*& next, std::span<const size_t> sizes) {
  Json out = Json::array();
  for (size_t i = 0; i < sizes[0]; ++i) {
    if (sizes.size() == 1) out.push_back(std::isfinite(*next) ? Json(*next) : Json());
    else out.push_back(nested(next, sizes.subspan(1)));
    if (sizes.size() == 1) ++next;
  }
  return out;
}

Json nested(const std::vector<EffectMap>& maps, std::vector<double> EffectMap::*column, std::span<const size_t> sizes,
            bool several) {
  Json all = Json::array();
  for (const EffectMap& map : maps) {
    const double* next = (map.*column).data();
    all.push_back(nested(next, sizes));
  }
  return several ? all : all[0];
}

struct Axes {
  std::vector<std::string> names;
  std::vector<size_t> sizes;  // without the ablations
  Json ticks = Json::object();
};

std::string head_name(const Cell& cell) { return fmt::format("a{}.h{}", cell.layer, cell.head.value_or(0)); }

Axes axes_of(const PatchOptions& o, const PatchResult& r) {
  Axes axes;
  if (o.ablate.size() > 1) {
    axes.names.emplace_back("ablation");
    Json names = Json::array();
    for (const Replacement& a : o.ablate) names.push_back(a.name);
    axes.ticks["ablation"] = std::move(names);
  }
  const auto add = [&](const std::string& name, Json ticks) {
    axes.names.push_back(name);
    axes.sizes.push_back(ticks.size());
    axes.ticks[name] = std::move(ticks);
  };
  if (r.grid) {
    for (size_t a = 0; a < r.grid->axes.size(); ++a) add(r.grid->names[a], r.grid->ticks[a]);
  } else if (!r.heads.empty()) {
    Json names = Json::array();
    for (const Cell& c : r.heads) names.push_back(head_name(c));
    add("head", names);
    add("head", names);
  } else {
    add("from", r.from);
    add("to", r.to);
  }
  return axes;
}

// What stands at each position: the role that all prompts give it, and the different tokens of either side (a few of them).
Json positions_json(const Context& context, const ExampleSet& set, const PatchRuns& runs) {
  constexpr size_t kMostTokens = 8;
  Json out = Json::array();
  for (int64_t p = 0; p < runs.longest(); ++p) {
    std::optional<std::string> role;
    bool agreed = true;
    std::vector<std::string> clean, corrupted;
    const auto add = [&](std::vector<std::string>& list, int32_t id) {
      const std::string text = token_text(*context.model, id);
      if (list.size() <= kMostTokens && std::find(list.begin(), list.end(), text) == list.end()) list.push_back(text);
    };
    for (const Example& e : set.examples) {
      if (p >= e.length()) continue;
      add(clean, e.clean[p]);
      add(corrupted, e.corrupted[p]);
      std::optional<std::string> own;
      for (const auto& [name, position] : e.positions)
        if (position == p && !own) own = name;
      if (&e == &set.examples[0]) role = own;
      else agreed = agreed && role == own;
    }
    Json entry{{"position", p}, {"clean", clean}, {"corrupted", corrupted}};
    if (agreed && role) entry["role"] = *role;
    out.push_back(std::move(entry));
  }
  return out;
}

Json ablation_names(const PatchOptions& o) {
  Json out = Json::array();
  for (const Replacement& a : o.ablate) out.push_back(a.name);
  return out;
}

void add_pairs(Json& out, const PatchResult& r) {
  Json heads = Json::array(), clusters = Json::array();
  for (size_t i = 0; i < r.heads.size(); ++i)
    heads.push_back({{"layer", r.heads[i].layer},
                     {"head", r.heads[i].head.value_or(0)},
                     {"name", head_name(r.heads[i])},
                     {"value", r.single.value[i]},
                     {"low", r.single.low[i]},
                     {"high", r.single.high[i]},
                     {"raw", r.single.raw[i]}});
  for (const auto& group : r.clusters) {
    Json names = Json::array();
    for (const size_t i : group) names.push_back(head_name(r.heads[i]));
    clusters.push_back(std::move(names));
  }
  out["heads"] = std::move(heads);
  out["clusters"] = std::move(clusters);
}

}  // namespace

Json patch_json(const Context& context, const PatchOptions& o, const ExampleSet& set, const PatchRuns& runs,
                const PatchResult& r) {
  const Axes axes = axes_of(o, r);
  const bool several = o.ablate.size() > 1, noise = runs.setup().direction == PatchDirection::kNoise;
  const auto numbers = [&](const std::vector<EffectMap>& maps, std::vector<double> EffectMap::*column) {
    return nested(maps, column, axes.sizes, several);
  };
  Json out{{"model", context.name}, {"task", set.task}};
  if (r.grid || !r.heads.empty()) out["site"] = r.grid ? patch_site_name(r.grid->site) : o.site.value_or("z");
  std::string by;
  for (const std::string& name : axes.names)
    if (name != "ablation") by += (by.empty() ? "" : ",") + name;
  out["by"] = by;
  out["direction"] = noise ? "noise" : "denoise";
  out["method"] = o.method;
  if (!o.ablate.empty()) out["ablate"] = ablation_names(o);
  if (!r.from.empty()) out["through_mlps"] = o.through_mlps;
  out["metric"] = metric_name(runs.setup().metric.kind());
  out["prompts"] = runs.size();
  out["clean"] = r.maps[0].clean;
  out["corrupted"] = r.maps[0].corrupted;
  out["baseline"] = noise && r.heads.empty() ? 1 : 0;
  out["axes"] = axes.names;
  out["ticks"] = axes.ticks;
  out["values"] = numbers(r.maps, &EffectMap::value);
  out["low"] = numbers(r.maps, &EffectMap::low);
  out["high"] = numbers(r.maps, &EffectMap::high);
  out["raw"] = numbers(r.maps, &EffectMap::raw);
  if (!r.exact.empty()) {
    out["exact"] = numbers(r.exact, &EffectMap::value);
    out["correlation"] = several ? Json(r.correlations) : Json(r.correlations[0]);
  }
  if (!r.heads.empty()) add_pairs(out, r);
  out["macs"] = {{"plain", r.macs.plain}, {"planned", r.macs.planned}, {"executed", r.macs.executed}};
  out["seconds"] = r.seconds;
  out["positions"] = positions_json(context, set, runs);
  out["warnings"] = r.warnings;
  return out;
}

}  // namespace microtome::api
