// Do heads steer where movers look? The causal test of S-inhibition (Wang et al. 2022): path patching head -> query of movers.
//
//   const VerifyResult r = verify_inhibition(model, prompts, {{8, 6}}, {{9, 9}, {9, 6}, {10, 0}}, {}, progress);
//   r.base; r.joint.effect;                      // A[END,IO] - A[END,S] of the movers, and its change
//
// The figure is the movers' attention at END to IO less that to S (both places where S stands), mean over movers and prompts. Of
// the patched heads' outputs at END those of the control prompt (three different names: no name is said twice) go into the
// movers' queries, on the direct path alone: a mover's query reads the stream as it is, plus (z' - z) W_O of the heads below it.
// Nothing else changes. Random heads of the same layers are the control.
#pragma once

#include "microtome/circuits/heads/verify.h"
#include "microtome/circuits/tasks/task.h"

namespace microtome::heads {

// Throws Unsupported where no candidate lies below a mover, or a prompt has no control of its length. The prompts have the roles
// IO, S1, S2, END.
VerifyResult verify_inhibition(const Model& model, const std::vector<TaskExample>& prompts, const std::vector<HeadId>& candidates,
                               const std::vector<HeadId>& movers, const VerifyOptions& options, Progress* progress = nullptr);

}  // namespace microtome::heads
