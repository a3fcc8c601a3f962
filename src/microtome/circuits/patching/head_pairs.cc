#include "microtome/circuits/patching/head_pairs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "microtome/base/error.h"

namespace microtome {
namespace {

// The `top` cells whose mean effect is largest.
std::vector<size_t> strongest(const PatchRuns& runs, const Effects& effects, size_t top) {
  std::vector<double> size(effects.cells(), 0.0);
  for (size_t c = 0; c < effects.cells(); ++c)
    for (size_t i = 0; i < effects.examples(); ++i)
      if (!std::isnan(effects.at(c, i))) size[c] += effects.at(c, i) - runs.host_metric(i);
  std::vector<size_t> order(effects.cells());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return std::abs(size[a]) > std::abs(size[b]); });
  order.resize(std::min(top, order.size()));
  return order;
}

double strength_between(const std::vector<double>& strength, size_t n, const std::vector<size_t>& a,
                        const std::vector<size_t>& b) {
  double sum = 0;
  for (const size_t i : a)
    for (const size_t j : b)
      if (const double s = strength[i * n + j]; std::isfinite(s)) sum += s;
  return sum / static_cast<double>(a.size() * b.size());
}

}  // namespace

HeadPairs patch_head_pairs(PatchRuns& runs, const CellGrid& grid, const Replacement& replacement, size_t top) {
  const Effects single = patch_exact(runs, grid, replacement);
  const std::vector<size_t> chosen = strongest(runs, single, top);
  const size_t n = chosen.size();
  HeadPairs out;
  out.single = Effects(runs.clean(), runs.corrupted(), n);
  out.interaction = Effects(runs.clean(), runs.corrupted(), n * n);
  out.interaction.differences = true;
  for (size_t a = 0; a < n; ++a) {
    out.heads.push_back(grid.cell(chosen[a]));
    for (size_t i = 0; i < runs.size(); ++i) out.single.at(a, i) = single.at(chosen[a], i);
  }

  ReplacedValues replaced(runs, grid.site, replacement);
  struct Row {
    size_t a, b;
  };
  std::vector<Intervention> rows;
  std::vector<Row> pairs;
  for (size_t i = 0; i < runs.size(); ++i) {
    std::vector<CellChange> changes;
    for (const Cell& cell : out.heads) {
      const Site site{grid.site, cell.layer};
      changes.push_back(change_of(cell, grid.site, runs.host_value(i, site), replaced.at(i, site)));
    }
    for (size_t a = 0; a < n; ++a)
      for (size_t b = a + 1; b < n; ++b) {
        // One that changes nothing adds nothing.
        if (changes[a].null || changes[b].null) {
          out.interaction.at(a * n + b, i) = out.interaction.at(b * n + a, i) = 0;
          continue;
        }
        Intervention row{.host = static_cast<int>(i), .edits = {}};
        for (const size_t x : {a, b})
          row.edits.push_back(set_edit({grid.site, out.heads[x].layer}, changes[x].where, changes[x].value));
        rows.push_back(std::move(row));
        pairs.push_back({a, b});
      }
  }
  runs.sweep().run(rows, [&](size_t k, const Tensor& logits) {
    const auto i = static_cast<size_t>(rows[k].host);
    const auto [a, b] = pairs[k];
    const double joint = runs.metric_of(i, logits);
    out.interaction.at(a * n + b, i) = out.interaction.at(b * n + a, i) =
        joint - out.single.at(a, i) - out.single.at(b, i) + runs.host_metric(i);
  });
  return out;
}

std::vector<std::vector<size_t>> clusters_of(const std::vector<double>& strength, size_t n, double share, double least) {
  MT_CHECK_EQ(strength.size(), n * n);
  double largest = 0;
  for (const double s : strength)
    if (std::isfinite(s)) largest = std::max(largest, s);
  const double bound = std::max(share * largest, least);
  std::vector<std::vector<size_t>> groups;
  for (size_t i = 0; i < n; ++i) groups.push_back({i});
  std::vector<double> inside(n, 0.0);
  for (;;) {
    double best = -1;
    size_t best_a = 0, best_b = 0;
    for (size_t a = 0; a < groups.size(); ++a)
      for (size_t b = a + 1; b < groups.size(); ++b)
        if (const double s = strength_between(strength, n, groups[a], groups[b]); s > best) best = s, best_a = a, best_b = b;
    if (best < bound) break;
    groups[best_a].insert(groups[best_a].end(), groups[best_b].begin(), groups[best_b].end());
    std::sort(groups[best_a].begin(), groups[best_a].end());
    inside[best_a] = std::max({inside[best_a], inside[best_b], best});
    groups.erase(groups.begin() + static_cast<int64_t>(best_b));
    inside.erase(inside.begin() + static_cast<int64_t>(best_b));
  }
  std::vector<size_t> order;
  for (size_t g = 0; g < groups.size(); ++g)
    if (groups[g].size() > 1) order.push_back(g);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return inside[a] > inside[b]; });
  std::vector<std::vector<size_t>> out;
  for (const size_t g : order) out.push_back(groups[g]);
  return out;
}

}  // namespace microtome
