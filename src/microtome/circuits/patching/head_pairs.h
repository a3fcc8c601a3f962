// Pairs of heads: what replacing two together does beyond the sum of replacing each, and which heads stand in for each other.
//
//   HeadPairs pairs = patch_head_pairs(runs, grid, replacement, 16);
//   pairs.interaction              // [heads, heads]: (joint - host) - (first - host) - (second - host), in the metric
//   clusters_of(map, top)          // heads that back each other up
//
// A single ablation understates a head whose work another takes over once it is gone (self-repair; McGrath et al. 2023): then
// the two together do more than their sum. One thread.
#pragma once

#include "microtome/circuits/patching/exact.h"

namespace microtome {

struct HeadPairs {
  std::vector<Cell> heads;  // the strongest by |single effect|, strongest first
  Effects single;           // [heads]
  Effects interaction;      // [heads, heads], differences; the diagonal is missing
};

// `grid` is by layer,head; its strongest `top` cells (mean |normalised single effect - the host's|) make the pairs.
HeadPairs patch_head_pairs(PatchRuns& runs, const CellGrid& grid, const Replacement& replacement, size_t top);

// Groups of indices, strongest first, by average linkage: two groups join while the mean strength between their members is at
// least `share` of the largest, and at least `least`. Strength [n, n]: how much more a pair does than its sum; NaN counts as 0.
std::vector<std::vector<size_t>> clusters_of(const std::vector<double>& strength, size_t n, double share = 0.25,
                                             double least = 0.01);

}  // namespace microtome
