// From what patching gives to the JSON of the command. Internal to api/patch.cc.
#pragma once

#include "microtome/api/patch.h"
#include "microtome/circuits/patching/effects.h"

namespace microtome::api {

struct PatchResult {
  std::optional<CellGrid> grid;        // maps of places
  std::vector<EffectMap> maps, exact;  // one for each ablation
  std::vector<double> correlations;
  std::vector<std::string> from, to;  // paths
  std::vector<Cell> heads;            // pairs of heads
  EffectMap single;
  std::vector<std::vector<size_t>> clusters;
  SweepMacs macs;
  double seconds = 0;
  std::vector<std::string> warnings;
};

Json patch_json(const Context& context, const PatchOptions& options, const ExampleSet& set, const PatchRuns& runs,
                const PatchResult& result);

}  // namespace microtome::api
