// Sweep: base runs, and a list of interventions on them, each recomputing only what it can change: layers above it, positions
// at or after it, the logits that are wanted. Results equal running each alone (<= 1e-5; circuits specification, section 7).
//
//   Sweep sweep(model, {{.tokens = corrupted, .positions = metric.positions(e), .columns = metric.columns(e)}}, {});
//   Tensor clean = ...;                                                    // the other run's stream at layer 5, [T, D]
//   std::vector<Intervention> list;
//   list.push_back({.host = 0, .edits = {set_edit({SiteKind::kResidPre, 5}, {.pos = Range{9, 10}}, clean.slice(9, 10))}});
//   sweep.run(list, [&](size_t i, const Tensor& logits) { values[i] = metric.value(e, logits); });
//
// An intervention is what a Plan's edits do to its host's run alone, so that forward() with those edits is its definition
// (run_alone). kMean is refused: its mean would be over the host alone; give the mean as a value (kSet). One thread; the sink is
// called in any order of interventions, each once.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "microtome/circuits/site_values.h"

namespace microtome {

struct SweepHost {
  std::vector<int32_t> tokens;
  std::vector<int32_t> positions;  // whose logits are wanted, rising
  std::vector<int32_t> columns;    // of the vocabulary; empty: all
};

struct Intervention {
  int host = 0;
  std::vector<Edit> edits;  // in the order given
};

struct SweepOptions {
  // The model that is swept is the one with these edits in it: of base runs and of every intervention, before its own. No kMean.
  std::vector<Edit> edits = {};
  double memory_gb = 1;  // for what the interventions in flight need, beside weights and base runs
  Progress* progress = nullptr;
};

// Multiply-adds of products with weights (attention itself is not counted; circuits specification, section 7, table).
struct SweepMacs {
  int64_t plain = 0;     // a full forward with all positions' logits for each intervention
  int64_t planned = 0;   // by the formulas, before running
  int64_t executed = 0;  // counted where the products are made
};

class Sweep {
 public:
  // Runs the hosts. Throws what forward throws.
  Sweep(const Model& model, std::vector<SweepHost> hosts, const SweepOptions& options = {});
  ~Sweep();

  int64_t hosts() const;
  // Logits of a host's own run, [positions, columns].
  const Tensor& host_logits(int host) const;
  // A host's own value at a site: [T, ..], patterns and scores [H, T, T]. Kept from the first call on.
  const Tensor& host_value(int host, Site site);

  // `logits` [positions, columns] of the intervention's host; copy what must outlive the call.
  using Sink = std::function<void(size_t index, const Tensor& logits)>;
  void run(std::span<const Intervention> interventions, const Sink& sink);

  // Of all run() calls so far.
  const SweepMacs& macs() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The definition: one forward pass with the intervention's edits.
Tensor run_alone(const Model& model, const SweepHost& host, std::span<const Edit> edits);

// Shorthands for edits.
Edit set_edit(Site site, Slice where, Tensor value);
Edit zero_edit(Site site, Slice where);
Edit add_edit(Site site, Slice where, Tensor value, float factor = 1);

}  // namespace microtome
