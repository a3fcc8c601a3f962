// Path patching: what a sender's output in the other run does through one input of one receiver alone (Wang et al. 2022;
// Goldowsky-Dill et al. 2023; circuits specification, section 8).
//
//   Effects effects = patch_paths(runs, senders, receivers, {.through_mlps = false});   // [senders, receivers]
//
// A receiver's input becomes what it would be if the sender alone had its output of the other run, everything else as the host
// has it; then the host's run goes on with that input.
//   edge           host's input + (sender's output in the other run - in the host's), on the direct path alone
//   through_mlps   all attention outputs held as the host's, MLPs recomputed (the IOI paper's paths)
// Receivers of one set are changed together. Pairs that no path connects are missing cells. One thread.
#pragma once

#include "microtome/circuits/patching/effects.h"
#include "microtome/circuits/patching/nodes.h"
#include "microtome/circuits/patching/runs.h"

namespace microtome {

struct PathOptions {
  bool through_mlps = false;
};

Effects patch_paths(PatchRuns& runs, const std::vector<Sender>& senders, const std::vector<std::vector<Receiver>>& receivers,
                    const PathOptions& options = {});

// The sites whose host and other values a sender's change is made of.
Site sender_site(const Sender& sender);

// Sender's output in the other run minus that in the host's, at the stream: [T, D].
Tensor sender_change(PatchRuns& runs, size_t example, const Sender& sender);

}  // namespace microtome
