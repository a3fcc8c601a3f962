// Attribution patching: what a map of patches would give if the metric were linear, from two forward passes and one backward
// pass of each example (Nanda 2023; Kramár et al. 2024, "AtP*").
//
//   Effects effects = attribute(runs, grid, replacement, PatchMethod::kAtp);
//
// A cell's value is M_host + sum (new - host) * dM/da|host over the cell. AtP* repairs two failures:
//   QK fix    for q and k: the softmax is recomputed with the new queries or keys, and the change of the pattern goes into
//             sum_ij (A' - A) dM/dA
//   GradDrop  one backward pass for each layer, with what that layer adds to the stream held constant for the gradient; the
//             size is the mean of |score| over the passes (without the cell's own layer, whose gradient such a pass cuts), the
//             sign that of the score with nothing dropped
// One thread.
#pragma once

#include "microtome/circuits/patching/effects.h"
#include "microtome/circuits/patching/replacement.h"

namespace microtome {

enum class PatchMethod : uint8_t { kExact, kAtp, kAtpStar };
// "exact", "atp", "atp-star"; throws InvalidArgument.
PatchMethod parse_method(std::string_view name);
std::string_view method_name(PatchMethod method);

Effects attribute(PatchRuns& runs, const CellGrid& grid, const Replacement& replacement, PatchMethod method);

// Forward passes' worth of multiply-adds that attribute() takes for each example, base runs included.
double attribution_passes(const Config& config, PatchMethod method);

}  // namespace microtome
