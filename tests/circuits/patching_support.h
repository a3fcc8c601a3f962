// What the patching tests share: golden models, random prompt pairs of several lengths, and the slow way to patch.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "golden_support.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/patching/exact.h"

namespace microtome::patching_support {

// Pairs of random tokens that are the same before `first` of each and at one place after it.
inline std::vector<Example> random_pairs(const Model& model, const std::vector<int64_t>& lengths, int64_t first = 3) {
  std::vector<Example> out;
  const Philox rng(7, "test pairs");
  const auto vocab = static_cast<uint64_t>(model.config().vocab);
  for (size_t s = 0; s < lengths.size(); ++s) {
    Example e;
    for (int64_t t = 0; t < lengths[s]; ++t) {
      e.clean.push_back(static_cast<int32_t>(rng.below(vocab, t, 2 * s)));
      const bool same = t < first || t == lengths[s] - 1;
      e.corrupted.push_back(same ? e.clean.back() : static_cast<int32_t>(rng.below(vocab, t, 2 * s + 1)));
    }
    e.answers = {static_cast<int32_t>(rng.below(vocab, 100, s))};
    e.wrong = {static_cast<int32_t>(rng.below(vocab, 101, s))};
    out.push_back(std::move(e));
  }
  return out;
}

inline Tensor site_value(const Model& model, const std::vector<int32_t>& tokens, Site site) {
  return values_at(model, tokens, std::array{site})[0];
}

// The metric of the host's run with these edits, alone.
inline double metric_alone(const PatchRuns& runs, size_t i, const std::vector<Edit>& edits) {
  return runs.metric_of(i, run_alone(runs.model(), runs.host(i), edits));
}

inline double tolerance_of(double value) { return 1e-5 * std::max(1.0, std::abs(value)); }

}  // namespace microtome::patching_support
