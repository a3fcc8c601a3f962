// The base runs of a sweep: caches, logits, and the values at sites that interventions start from. Internal to the sweep.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/sweep.h"

namespace microtome::sweep {

struct HostRun {
  SweepHost spec;
  KvCache cache;  // of the base run: slot = position
  Tensor logits;  // [positions, columns]
  SiteValues values;

  int64_t length() const { return static_cast<int64_t>(spec.tokens.size()); }
  // Must have been asked for.
  const Tensor& at(SiteKind kind, int layer) const { return values.at({kind, layer}); }
};

// Runs the hosts under the edits, several in a pass.
std::vector<HostRun> run_hosts(const Model& model, std::vector<SweepHost> hosts, std::span<const Edit> edits,
                               const Progress* progress);

// Values of all layers at these kinds of site (those that the model has), for every host that lacks them.
void need(const Model& model, std::vector<HostRun>& hosts, std::span<const SiteKind> kinds, std::span<const Edit> edits,
          const Progress* progress);

// A cache that holds this block of the base run and nothing else; changes to it are copies.
KvCache block_cache(const HostRun& host, const Config& config, int l);

// Rows of one sequence that a single step works on.
struct StepRows {
  const HostRun* host = nullptr;
  KvCache* cache = nullptr;  // null: the step needs none
  std::span<const int32_t> positions;
};

// A batch of such rows: positions name the cache's slots.
Batch step_batch(std::span<const StepRows> rows);

}  // namespace microtome::sweep
