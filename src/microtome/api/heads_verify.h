// The causal tests of `heads --verify` (internal to api/): each detector's heads, ablated on its own task.
#pragma once

#include "microtome/api/request.h"
#include "microtome/circuits/heads/detectors.h"
#include "microtome/circuits/heads/probe.h"
#include "microtome/circuits/heads/verify.h"

namespace microtome::api {

struct VerifyRequest {
  std::vector<std::pair<heads::Detector, std::vector<algebra::HeadId>>> candidates;
  std::vector<heads::ProbeText> texts;
  std::vector<algebra::HeadId> movers;  // the strongest three, for S-inhibition
  int64_t prompts = 16, draws = 20;
  uint64_t seed = 0;
  std::optional<bool> bos;
  const Plan* edits = nullptr;  // of every run
};

// verified[{layer, head, heads[], detector, task, metric, ablation, base, draws, effect, control_mean, control_sd}]: for each
// detector all its heads together (layer and head null where they are several), then each alone. Attention detectors and copying:
// loss on the text (its repeated part); movers, S-inhibition and copy suppression: ioi; successor: successor. S-inhibition also
// by paths: ablation "path", metric "attention", with `movers[]` (circuits/heads/inhibition.h). A task that cannot be made for
// this model gives a row with `reason` and null figures.
Json verify_heads(const Context& context, const VerifyRequest& request);

}  // namespace microtome::api
