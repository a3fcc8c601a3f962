// Patching and ablation, exactly: every cell of a map replaced in the host's run, all of them through one sweep.
//
//   Effects effects = patch_exact(runs, grid, {.kind = ReplacementKind::kZero, .name = "zero"});
//
// A cell whose new value has the host's bits (every position before the first token in which the sides differ, when values come
// from the other run) is not run: its answer is the host's. One thread.
#pragma once

#include "microtome/circuits/patching/effects.h"
#include "microtome/circuits/patching/replacement.h"

namespace microtome {

// Throws what ReplacedValues throws.
Effects patch_exact(PatchRuns& runs, const CellGrid& grid, const Replacement& replacement);

// Every site of one kind, those that a grid's cells lie in.
std::vector<Site> sites_of(const CellGrid& grid);

// The slice of an example's site that a cell changes, narrowed to the positions whose values differ; nothing if the example does
// not have the cell.
struct CellChange {
  bool exists = false, null = true;  // null: the new value has the host's bits
  Slice where;
  Tensor value;
};
CellChange change_of(const Cell& cell, SiteKind site, const Tensor& host, const Tensor& replaced);

// About how many multiply-adds a sweep over the grid needs: for each cell the layers above and the positions from the first that
// can change.
double sweep_macs_estimate(const PatchRuns& runs, const CellGrid& grid, const Replacement& replacement);

}  // namespace microtome
