// z of heads whose queries, keys, values, scores or patterns an intervention changes. Internal to the sweep.
#pragma once

#include "microtome/circuits/sweep/layer.h"

namespace microtome::sweep {

// z' - z of one intervention: rows of its host, [positions, H, K].
struct HeadChange {
  std::vector<int32_t> positions;
  Tensor delta;
};

// For items (all of Way::kHeads, in layer l, their edits at sites of one kind) the change of z; for edits of hook_result the
// change of [positions, H, D] itself.
std::vector<HeadChange> head_changes(const Model& model, int l, std::span<const Item* const> items);

}  // namespace microtome::sweep
