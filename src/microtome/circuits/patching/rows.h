// PatchRows: interventions gathered until there are enough for the sweep, each with the cell that its metric goes to.
//
//   PatchRows rows(runs, effects);
//   rows.add(cell, {.host = example, .edits = {...}});   // no edits: the host's own metric, nothing runs
//   rows.finish();
#pragma once

#include "microtome/circuits/patching/effects.h"
#include "microtome/circuits/patching/runs.h"

namespace microtome {

class PatchRows {
 public:
  PatchRows(PatchRuns& runs, Effects& effects) : runs_(runs), effects_(effects) {}

  void add(size_t cell, Intervention row);
  void finish();

 private:
  PatchRuns& runs_;
  Effects& effects_;
  std::vector<Intervention> rows_;
  std::vector<size_t> cells_;
  int64_t values_ = 0;  // floats that the rows hold
};

}  // namespace microtome
