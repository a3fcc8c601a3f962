#include "microtome/circuits/patching/attribution.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/circuits/patching/exact.h"
#include "microtome/circuits/patching/qk_fix.h"
#include "microtome/model/capture.h"

namespace microtome {
namespace {

constexpr std::array<std::string_view, 3> kMethods{"exact", "atp", "atp-star"};

// dM/d(site) of the host's run at each site. `dropped`: the layer whose writes to the stream are constants; -1: none.
std::map<Site, Tensor> gradients(PatchRuns& runs, size_t i, const std::vector<Site>& sites, int dropped) {
  const SweepHost host = runs.host(i);
  Batch batch;
  batch.add_sequence(host.tokens);
  Plan plan;
  for (const Edit& e : runs.setup().edits) plan.edit(e);
  Capture capture(1);
  for (const Site& s : sites) capture.gradient(plan, s);
  if (dropped >= 0) {
    // The value as it is: nothing moves, but no gradient passes.
    for (const SiteKind kind : {SiteKind::kAttnOut, SiteKind::kMlpOut})
      if (const Site s{kind, dropped}; site_exists(s, runs.config())) plan.edit(set_edit(s, {}, runs.host_value(i, s)));
  }
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = host.positions;
  plan.logit_columns = host.columns;
  Tape tape(runs.model().context());
  const Forward f = forward(runs.model(), {.batch = batch, .plan = &plan, .tape = &tape, .progress = runs.setup().progress});
  tape.backward(f.logits, runs.metric_gradient(i, f.logits.data));
  std::map<Site, Tensor> out;
  for (const Site& s : capture.gradient_sites()) {
    const Tensor g = capture.gradient_array(s);
    out[s] = g.view(Shape(g.shape().begin() + 1, g.shape().end()));
  }
  // Nothing reaches a site whose whole way is cut.
  for (const Site& s : sites)
    if (!out.contains(s)) out[s] = Tensor();
  return out;
}

double dot_change(const Cell& cell, SiteKind site, const Tensor& host, const Tensor& replaced, const Tensor& gradient) {
  if (!gradient.defined()) return 0;
  const Slice where = slice_of(cell);
  const Tensor a = cut_value(host, site, where), b = cut_value(replaced, site, where), g = cut_value(gradient, site, where);
  double sum = 0;
  for (int64_t k = 0; k < a.numel(); ++k) sum += (static_cast<double>(b.f32()[k]) - a.f32()[k]) * g.f32()[k];
  return sum;
}

// Scores of every cell of the grid that example i has, under one backward pass.
class Scorer {
 public:
  Scorer(PatchRuns& runs, const CellGrid& grid, ReplacedValues& replaced, bool qk_fix)
      : runs_(runs),
        grid_(grid),
        replaced_(replaced),
        qk_fix_(qk_fix && (grid.site == SiteKind::kQ || grid.site == SiteKind::kK)) {}

  std::vector<Site> gradient_sites() const {
    std::vector<Site> sites = sites_of(grid_);
    if (qk_fix_)
      for (Site& s : sites) s.kind = SiteKind::kPattern;
    return sites;
  }

  // NaN where the example lacks the cell.
  std::vector<double> scores(size_t i, int dropped) {
    const std::map<Site, Tensor> gradient = gradients(runs_, i, gradient_sites(), dropped);
    std::vector<double> out(grid_.size(), Effects::kMissing);
    const size_t per_layer = grid_.size() / grid_.ticks[0].size();
    for (size_t layer = 0; layer < grid_.ticks[0].size(); ++layer) {
      const Site site{grid_.site, static_cast<int>(grid_.ticks[0][layer])};
      const Tensor value = replaced_.at(i, site);
      std::optional<QkFix> fix;
      if (qk_fix_) fix.emplace(runs_, i, site, value, gradient.at({SiteKind::kPattern, site.layer}));
      for (size_t c = layer * per_layer; c < (layer + 1) * per_layer; ++c) {
        const Cell cell = grid_.cell(c);
        if ((cell.pos && *cell.pos >= runs_.length(i)) || (cell.src && cell.pos && *cell.src > *cell.pos)) continue;
        out[c] = fix ? fix->score(cell) : dot_change(cell, grid_.site, runs_.host_value(i, site), value, gradient.at(site));
      }
    }
    return out;
  }

 private:
  PatchRuns& runs_;
  const CellGrid& grid_;
  ReplacedValues& replaced_;
  bool qk_fix_;
};

// Whether a pass that drops a layer cuts every way from this site of the same layer to the metric.
bool inside_block(SiteKind site) {
  return site != SiteKind::kResidPre && site != SiteKind::kResidMid && site != SiteKind::kResidPost;
}

// Mean |score| over the passes, with the sign of `plain`.
std::vector<double> grad_drop(Scorer& scorer, const PatchRuns& runs, const CellGrid& grid, size_t i, std::vector<double> plain) {
  std::vector<double> sum(plain.size(), 0.0);
  std::vector<int> count(plain.size(), 0);
  for (int dropped = 0; dropped < runs.config().n_layers; ++dropped) {
    const std::vector<double> scores = scorer.scores(i, dropped);
    for (size_t c = 0; c < plain.size(); ++c) {
      if (inside_block(grid.site) && grid.cell(c).layer == dropped) continue;
      sum[c] += std::abs(scores[c]);
      ++count[c];
    }
    if (runs.setup().progress) runs.setup().progress->step();
  }
  for (size_t c = 0; c < plain.size(); ++c)
    if (count[c] > 0) plain[c] = std::copysign(sum[c] / count[c], plain[c]);
  return plain;
}

}  // namespace

PatchMethod parse_method(std::string_view name) {
  for (size_t i = 0; i < kMethods.size(); ++i)
    if (kMethods[i] == name) return static_cast<PatchMethod>(i);
  throw Error(ErrorKind::kInvalidArgument, "method \"{}\": expected exact, atp or atp-star", printable(name));
}

std::string_view method_name(PatchMethod method) { return kMethods[static_cast<size_t>(method)]; }

Effects attribute(PatchRuns& runs, const CellGrid& grid, const Replacement& replacement, PatchMethod method) {
  const bool star = method == PatchMethod::kAtpStar;
  ReplacedValues replaced(runs, grid.site, replacement);
  std::vector<Site> needed = sites_of(grid);
  if (star)
    for (int l = 0; l < runs.config().n_layers; ++l)
      for (const SiteKind kind : {SiteKind::kQ, SiteKind::kK, SiteKind::kAttnOut, SiteKind::kMlpOut})
        if (site_exists({kind, l}, runs.config())) needed.push_back({kind, l});
  runs.need(needed);
  Scorer scorer(runs, grid, replaced, star);
  Effects effects(runs.clean(), runs.corrupted(), grid.size());
  Progress* progress = runs.setup().progress;
  if (progress)
    progress->begin("backward passes",
                    static_cast<double>(runs.size()) * (star ? 1.0 + static_cast<double>(runs.config().n_layers) : 1.0));
  for (size_t i = 0; i < runs.size(); ++i) {
    std::vector<double> scores = scorer.scores(i, -1);
    if (progress) progress->step();
    if (star) scores = grad_drop(scorer, runs, grid, i, std::move(scores));
    for (size_t c = 0; c < grid.size(); ++c)
      if (!std::isnan(scores[c])) effects.at(c, i) = runs.host_metric(i) + scores[c];
  }
  if (progress) progress->end();
  return effects;
}

double attribution_passes(const Config& config, PatchMethod method) {
  // The two runs; a forward pass with a tape, and a backward pass, which is one product for each of the forward's.
  const double backward = method == PatchMethod::kAtpStar ? 1.0 + static_cast<double>(config.n_layers) : 1.0;
  return 2 + 2 * backward;
}

}  // namespace microtome
