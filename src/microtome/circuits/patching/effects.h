// Effects: what a metric becomes when cells of a map are changed, example by example, and what is reported of it.
//
//   Effects effects(clean, corrupted, n_cells);           // the metric of both runs of every example
//   effects.at(cell, example) = metric.value(...);
//   const EffectMap map = summarise(effects, seed);       // raw, normalised, 95 % interval over prompts
//
// Normalised is (M - M_corrupted) / (M_clean - M_corrupted) of means over the examples that have the cell: a ratio of means, so
// that an example whose two runs hardly differ cannot dominate. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace microtome {

struct Effects {
  Effects() = default;
  Effects(std::vector<double> clean_, std::vector<double> corrupted_, size_t n_cells)
      : clean(std::move(clean_)), corrupted(std::move(corrupted_)), values(n_cells * clean.size(), kMissing) {}

  static constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();  // the example has no such cell

  std::vector<double> clean, corrupted;  // [examples]
  std::vector<double> values;            // [cells, examples]
  bool differences = false;              // values are differences of the metric: normalised without taking M_corrupted away

  size_t examples() const { return clean.size(); }
  size_t cells() const { return clean.empty() ? 0 : values.size() / clean.size(); }
  double& at(size_t cell, size_t example) { return values[cell * examples() + example]; }
  double at(size_t cell, size_t example) const { return values[cell * examples() + example]; }
};

// One number for each cell; NaN where there is none: a cell of no example, an interval of fewer than two examples, a metric that
// is the same in both runs.
struct EffectMap {
  double clean = 0, corrupted = 0;  // mean over all examples
  std::vector<double> raw, value;   // mean metric; normalised
  std::vector<double> low, high;    // of `value`: 2.5 and 97.5 % of `draws` resamples of the examples
};

EffectMap summarise(const Effects& effects, uint64_t seed, int draws = 1000);

// Pearson's correlation of two maps over the cells that both have; NaN where one of them is constant.
double correlation(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace microtome
