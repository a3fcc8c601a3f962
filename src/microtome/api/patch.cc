#include "microtome/api/patch.h"

#include <chrono>
#include <nlohmann/json.hpp>

#include "microtome/api/patch_result.h"
#include "microtome/circuits/patching/head_pairs.h"
#include "microtome/circuits/patching/paths.h"

namespace microtome::api {
namespace {

constexpr size_t kMostCells = 2'000'000;
constexpr double kMostValueBytes = 8e9;
constexpr double kMacsPerSecond = 60e9;  // of two cores, for an estimate in words

bool by_pairs(const PatchOptions& o) { return o.by == "head,head"; }
bool by_paths(const PatchOptions& o) { return o.from || o.to; }

PatchDirection direction_of(const PatchOptions& o) {
  if (!o.direction) return o.ablate.empty() && !by_pairs(o) ? PatchDirection::kDenoise : PatchDirection::kNoise;
  if (*o.direction == "denoise") return PatchDirection::kDenoise;
  if (*o.direction == "noise") return PatchDirection::kNoise;
  throw FieldError("direction", fmt::format("direction \"{}\": expected denoise or noise", printable(*o.direction)));
}

void check_combination(const PatchOptions& o, PatchMethod method) {
  if (by_paths(o) && (o.site || o.by || !o.ablate.empty()))
    throw FieldError("from", "from and to name paths; site, by and ablate belong to maps of places: give one or the other");
  if (o.top && !by_pairs(o)) throw FieldError("top", "top counts the heads whose pairs are tried: it belongs to by head,head");
  if (o.through_mlps && !by_paths(o)) throw FieldError("through-mlps", "through-mlps is about paths: give from and to");
  if (method != PatchMethod::kExact && (by_paths(o) || by_pairs(o)))
    throw FieldError("method", fmt::format("method {} is linear and knows neither paths nor pairs; leave it out", o.method));
  if (o.with_exact && method == PatchMethod::kExact)
    throw FieldError("with-exact", "with-exact compares atp or atp-star with exact patches; give --method atp");
}

// The edits of the model that is patched.
std::vector<Edit> edits_of(const Context& context, const PatchOptions& o, const ExampleSet& set) {
  int64_t longest = 0;
  for (const Example& e : set.examples) longest = std::max(longest, e.length());
  Plan plan;
  add_edits(context, o.edits, {.bos = o.examples.bos}, plan, longest);
  for (const Edit& e : plan.edits())
    if (e.op == EditOp::kMean)
      throw FieldError("edits",
                       "edit: `mean` is over one run's prompts, and patching makes many runs; use --ablate mean, or give the "
                       "mean as a value (set:F.npy)");
  return plan.edits();
}

PatchSetup setup_of(const Context& context, const PatchOptions& o, const ExampleSet& set) {
  PatchSetup setup{.examples = set.examples,
                   .edits = edits_of(context, o, set),
                   .metric = Metric(o.metric ? parse_metric(*o.metric) : set.metric),
                   .direction = direction_of(o),
                   .memory_gb = o.memory_gb,
                   .progress = context.progress};
  const bool averages =
      std::any_of(o.ablate.begin(), o.ablate.end(), [](const Replacement& r) { return r.kind == ReplacementKind::kMean; });
  if (!averages || set.controls.empty()) return setup;
  for (size_t i = 0; i < set.examples.size(); ++i) {
    setup.mean_prompts.emplace_back();
    for (size_t j = 0; j < set.controls.size(); ++j)
      if (set.groups[j] == set.groups[i] && std::ssize(set.controls[j]) == set.examples[i].length())
        setup.mean_prompts.back().push_back(set.controls[j]);
  }
  return setup;
}

std::string time_text(double seconds) {
  return seconds < 60 ? "less than a minute" : fmt::format("around {:.0f} minutes", std::ceil(seconds / 60));
}

// Before anything large is held or begun.
void check_size(const PatchRuns& runs, const CellGrid& grid, const PatchOptions& o, PatchMethod method) {
  const char* narrow = "narrow it with --layers, --heads, --neurons, --positions or fewer prompts (--n)";
  if (grid.size() > kMostCells)
    throw FieldError("by", fmt::format("the map has {} cells, at most {} are made; {}", grid.size(), kMostCells, narrow));
  double bytes = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto t = static_cast<double>(runs.length(i));
    const SiteShape shape = site_shape(grid.site);
    const auto heads = static_cast<double>(std::max<int64_t>(1, site_heads(shape, runs.config())));
    const double row = shape == SiteShape::kPattern ? t : static_cast<double>(site_width(shape, runs.config()));
    bytes += 2 * 4 * t * heads * row * static_cast<double>(grid.ticks[0].size());
  }
  if (bytes > kMostValueBytes)
    throw FieldError("site",
                     fmt::format("the values of {} would take {:.1f} GB; {}", patch_site_name(grid.site), bytes / 1e9, narrow));
  if (method != PatchMethod::kExact && !o.with_exact) return;
  double macs = 0;
  const std::vector<Replacement> plain(1);
  for (const Replacement& r : o.ablate.empty() ? plain : o.ablate) macs += sweep_macs_estimate(runs, grid, r);
  if (macs > o.most_tmacs * 1e12)
    throw FieldError(
        "by",
        fmt::format("{} cells on {} prompts would take about {:.2g} e12 multiply-adds ({} on two cores), more than {:.4g} e12; "
                    "{}, take --method atp (one backward pass for all cells), or allow it with --most {:.0f}",
                    grid.size(), runs.size(), macs / 1e12, time_text(macs / kMacsPerSecond), o.most_tmacs, narrow,
                    std::ceil(macs / 1e12)));
}

CellGrid grid_of(const PatchRuns& runs, const PatchOptions& o) {
  const SiteKind site = parse_patch_site(o.site.value_or(by_pairs(o) ? "z" : "resid_pre"));
  const std::string axes = by_pairs(o) ? "layer,head" : o.by.value_or(std::string(default_axes(site)));
  return make_grid(runs.config(), site, parse_axes(axes), o.selection, runs.longest());
}

SweepMacs attribution_macs(const PatchRuns& runs, const CellGrid& grid, PatchMethod method) {
  SweepMacs macs;
  for (size_t i = 0; i < runs.size(); ++i) {
    const int64_t t = runs.length(i);
    macs.plain += static_cast<int64_t>(forward_macs(runs.config(), t, t)) * static_cast<int64_t>(grid.size());
    macs.planned += static_cast<int64_t>(attribution_passes(runs.config(), method) * forward_macs(runs.config(), t, 1));
  }
  macs.executed = macs.planned;
  return macs;
}

// One map for each kind of replacement.
PatchResult patch_cells(PatchRuns& runs, const PatchOptions& o, PatchMethod method, uint64_t seed) {
  PatchResult out;
  out.grid = grid_of(runs, o);
  check_size(runs, *out.grid, o, method);
  const std::vector<Replacement> plain(1);
  for (const Replacement& r : o.ablate.empty() ? plain : o.ablate) {
    const bool exact = method == PatchMethod::kExact;
    out.maps.push_back(summarise(exact ? patch_exact(runs, *out.grid, r) : attribute(runs, *out.grid, r, method), seed));
    if (!exact) {
      const SweepMacs macs = attribution_macs(runs, *out.grid, method);
      out.macs = {out.macs.plain + macs.plain, out.macs.planned + macs.planned, out.macs.executed + macs.executed};
    }
    if (o.with_exact) {
      out.exact.push_back(summarise(patch_exact(runs, *out.grid, r), seed));
      out.correlations.push_back(correlation(out.maps.back().value, out.exact.back().value));
    }
  }
  if (method == PatchMethod::kExact) out.macs = runs.macs();
  return out;
}

// How far two heads stand in for each other: together they go farther than their sum the way that each goes alone (noise), or,
// where values are given back, less far. Heads that pull in opposite ways (a mover and a negative mover) do not.
std::vector<double> backup_strength(const PatchResult& r, PatchDirection direction) {
  constexpr double kNoEffect = 0.01;
  const size_t n = r.heads.size();
  const double baseline = direction == PatchDirection::kNoise ? 1 : 0;
  std::vector<double> out(n * n, 0.0);
  for (size_t a = 0; a < n; ++a)
    for (size_t b = 0; b < n; ++b) {
      const double x = r.single.value[a] - baseline, y = r.single.value[b] - baseline;
      if (x * y < 0 && std::min(std::abs(x), std::abs(y)) > kNoEffect) continue;
      const double way = std::copysign(1.0, std::abs(x) > std::abs(y) ? x : y);
      out[a * n + b] = r.maps[0].value[a * n + b] * (direction == PatchDirection::kNoise ? way : -way);
    }
  return out;
}

PatchResult patch_pairs(PatchRuns& runs, const PatchOptions& o, uint64_t seed) {
  PatchResult out;
  if (o.ablate.size() > 1) throw FieldError("ablate", "pairs of heads are tried under one kind of ablation; give one");
  const CellGrid grid = grid_of(runs, o);
  check_size(runs, grid, o, PatchMethod::kExact);
  const HeadPairs pairs =
      patch_head_pairs(runs, grid, o.ablate.empty() ? Replacement() : o.ablate[0], static_cast<size_t>(o.top.value_or(16)));
  out.single = summarise(pairs.single, seed);
  out.maps.push_back(summarise(pairs.interaction, seed));
  out.heads = pairs.heads;
  out.clusters = clusters_of(backup_strength(out, runs.setup().direction), pairs.heads.size());
  out.macs = runs.macs();
  return out;
}

PatchResult patch_edges(PatchRuns& runs, const PatchOptions& o, uint64_t seed) {
  PatchResult out;
  const std::string from = o.from.value_or("all"), to = o.to.value_or("logits");
  const std::vector<Sender> senders = parse_senders(from, runs.config());
  const std::vector<std::vector<Receiver>> receivers = parse_receivers(to, runs.config());
  if (senders.size() * receivers.size() > kMostCells)
    throw FieldError("from", fmt::format("{} senders times {} receivers are more than {} paths", senders.size(), receivers.size(),
                                         kMostCells));
  out.maps.push_back(summarise(patch_paths(runs, senders, receivers, {.through_mlps = o.through_mlps}), seed));
  for (const Sender& s : senders) out.from.push_back(s.name);
  for (const auto& set : receivers) {
    std::string name;
    for (const Receiver& r : set) name += (name.empty() ? "" : "+") + r.name;
    out.to.push_back(name);
  }
  if (std::all_of(out.maps[0].raw.begin(), out.maps[0].raw.end(), [](double v) { return std::isnan(v); }))
    throw FieldError(
        "from", fmt::format("no path leads from {} to {}: senders must come before receivers", printable(from), printable(to)));
  out.macs = runs.macs();
  return out;
}

}  // namespace

Json patch(const Context& context, const PatchOptions& o) {
  const auto start = std::chrono::steady_clock::now();
  const PatchMethod method = parse_method(o.method);
  check_combination(o, method);
  const ExampleSet set = read_examples(context, o.examples);
  const PatchSetup setup = setup_of(context, o, set);
  const Metric metric = setup.metric;
  TaskScore score = score_examples(*context.model, set.examples, metric, context.progress, false);
  PatchRuns runs(*context.model, setup);
  const uint64_t seed = o.examples.seed;
  PatchResult result = by_paths(o)   ? patch_edges(runs, o, seed)
                       : by_pairs(o) ? patch_pairs(runs, o, seed)
                                     : patch_cells(runs, o, method, seed);
  score.clean = runs.clean();
  score.corrupted = runs.corrupted();
  score.mean_clean = result.maps[0].clean;
  score.mean_corrupted = result.maps[0].corrupted;
  result.warnings = set.warnings;
  for (std::string& w : failure_warnings(set, score)) result.warnings.push_back(std::move(w));
  if (runs.size() == 1) result.warnings.emplace_back("one prompt: no interval; give several pairs to see how far it holds");
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return patch_json(context, o, set, runs, result);
}

}  // namespace microtome::api
