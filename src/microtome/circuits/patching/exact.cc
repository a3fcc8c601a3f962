#include "microtome/circuits/patching/exact.h"

#include <algorithm>
#include <cstring>

#include "microtome/circuits/patching/rows.h"
#include "microtome/model/macs.h"

namespace microtome {
namespace {

// The positions of the slice in which two cut values differ, from the first to the last.
std::optional<Range> differing_positions(const Tensor& a, const Tensor& b, bool pattern) {
  const int64_t np = pattern ? a.size(1) : a.size(0), nh = pattern ? a.size(0) : 1, row = a.numel() / (np * nh);
  int64_t first = np, last = -1;
  for (int64_t h = 0; h < nh; ++h)
    for (int64_t p = 0; p < np; ++p)
      if (std::memcmp(a.f32() + (h * np + p) * row, b.f32() + (h * np + p) * row, static_cast<size_t>(row) * sizeof(float)) !=
          0) {
        first = std::min(first, p);
        last = std::max(last, p);
      }
  if (last < 0) return std::nullopt;
  return Range{first, last + 1};
}

}  // namespace

std::vector<Site> sites_of(const CellGrid& grid) {
  std::vector<Site> sites;
  for (const int64_t layer : grid.ticks[0]) sites.push_back({grid.site, static_cast<int>(layer)});
  return sites;
}

CellChange change_of(const Cell& cell, SiteKind site, const Tensor& host, const Tensor& replaced) {
  const bool pattern = site_shape(site) == SiteShape::kPattern;
  const int64_t length = pattern ? host.size(1) : host.size(0);
  CellChange out;
  out.exists = !(cell.pos && *cell.pos >= length) && !(cell.src && cell.pos && *cell.src > *cell.pos);
  if (!out.exists) return out;
  out.where = slice_of(cell);
  const Tensor before = cut_value(host, site, out.where), after = cut_value(replaced, site, out.where);
  const auto differ = differing_positions(before, after, pattern);
  out.null = !differ;
  if (out.null) return out;
  if (!cell.pos) out.where.pos = *differ;
  out.value = cell.pos ? after : cut_value(replaced, site, out.where);
  return out;
}

Effects patch_exact(PatchRuns& runs, const CellGrid& grid, const Replacement& replacement) {
  ReplacedValues replaced(runs, grid.site, replacement);
  runs.need(sites_of(grid));
  Effects effects(runs.clean(), runs.corrupted(), grid.size());
  PatchRows rows(runs, effects);
  const size_t per_layer = grid.size() / grid.ticks[0].size();
  for (size_t layer = 0; layer < grid.ticks[0].size(); ++layer) {
    const Site site{grid.site, static_cast<int>(grid.ticks[0][layer])};
    for (size_t i = 0; i < runs.size(); ++i) {
      const Tensor value = replaced.at(i, site);
      for (size_t c = layer * per_layer; c < (layer + 1) * per_layer; ++c) {
        CellChange change = change_of(grid.cell(c), grid.site, runs.host_value(i, site), value);
        if (!change.exists) continue;
        Intervention row{.host = static_cast<int>(i), .edits = {}};
        if (!change.null) row.edits.push_back(set_edit(site, change.where, std::move(change.value)));
        rows.add(c, std::move(row));
      }
    }
  }
  rows.finish();
  return effects;
}

double sweep_macs_estimate(const PatchRuns& runs, const CellGrid& grid, const Replacement& replacement) {
  const auto block = static_cast<double>(BlockMacs(runs.config()).total());
  const bool other = replacement.kind == ReplacementKind::kOther || replacement.kind == ReplacementKind::kProject;
  double total = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    const int64_t n = runs.length(i), first = other ? runs.first_difference(i) : 0;
    for (size_t c = 0; c < grid.size(); ++c) {
      const Cell cell = grid.cell(c);
      const int64_t from = cell.pos.value_or(first);
      if (from < first || from >= n || (cell.src && *cell.src > from)) continue;
      total += block * static_cast<double>((runs.config().n_layers - cell.layer) * (n - from));
    }
  }
  return total;
}

}  // namespace microtome
