#include "microtome/circuits/patching/effects.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {
namespace {

// Sums over the examples of a cell, each counted `weight` times.
struct Sums {
  double value = 0, clean = 0, corrupted = 0, count = 0;

  void add(const Effects& e, size_t cell, size_t example, double weight) {
    const double v = e.at(cell, example);
    if (std::isnan(v) || weight == 0) return;
    value += weight * v;
    clean += weight * e.clean[example];
    corrupted += weight * e.corrupted[example];
    count += weight;
  }
  double normalised(bool differences) const {
    if (count == 0 || clean == corrupted) return Effects::kMissing;
    return (value - (differences ? 0 : corrupted)) / (clean - corrupted);
  }
};

double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

// How often each resample takes each example, [draws, examples]; the same for every cell.
std::vector<double> resamples(size_t examples, uint64_t seed, int draws) {
  const Philox rng(seed, "patch bootstrap");
  std::vector<double> weights(examples * static_cast<size_t>(draws), 0.0);
  for (int d = 0; d < draws; ++d)
    for (size_t i = 0; i < examples; ++i)
      weights[static_cast<size_t>(d) * examples + rng.below(examples, i, static_cast<uint64_t>(d))] += 1;
  return weights;
}

double quantile(std::vector<double>& sorted_part, double q) {
  const auto at = sorted_part.begin() + static_cast<int64_t>(q * static_cast<double>(sorted_part.size() - 1) + 0.5);
  std::nth_element(sorted_part.begin(), at, sorted_part.end());
  return *at;
}

}  // namespace

EffectMap summarise(const Effects& e, uint64_t seed, int draws) {
  MT_CHECK(e.examples() > 0);
  const size_t n = e.examples(), cells = e.cells();
  EffectMap out;
  out.clean = mean(e.clean);
  out.corrupted = mean(e.corrupted);
  for (auto* column : {&out.raw, &out.value, &out.low, &out.high}) column->assign(cells, Effects::kMissing);
  const std::vector<double> weights = resamples(n, seed, draws);
  std::vector<double> drawn;
  for (size_t c = 0; c < cells; ++c) {
    Sums all;
    for (size_t i = 0; i < n; ++i) all.add(e, c, i, 1);
    if (all.count == 0) continue;
    out.raw[c] = all.value / all.count;
    out.value[c] = all.normalised(e.differences);
    if (all.count < 2) continue;
    drawn.clear();
    for (int d = 0; d < draws; ++d) {
      Sums s;
      for (size_t i = 0; i < n; ++i) s.add(e, c, i, weights[static_cast<size_t>(d) * n + i]);
      const double v = s.normalised(e.differences);
      if (std::isfinite(v)) drawn.push_back(v);
    }
    if (drawn.empty()) continue;
    out.low[c] = quantile(drawn, 0.025);
    out.high[c] = quantile(drawn, 0.975);
  }
  return out;
}

double correlation(const std::vector<double>& a, const std::vector<double>& b) {
  MT_CHECK_EQ(a.size(), b.size());
  double n = 0, ma = 0, mb = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::isfinite(a[i]) && std::isfinite(b[i])) n += 1, ma += a[i], mb += b[i];
  ma /= n, mb /= n;
  double ab = 0, aa = 0, bb = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::isfinite(a[i]) && std::isfinite(b[i])) {
      ab += (a[i] - ma) * (b[i] - mb);
      aa += (a[i] - ma) * (a[i] - ma);
      bb += (b[i] - mb) * (b[i] - mb);
    }
  return ab / std::sqrt(aa * bb);
}

}  // namespace microtome
