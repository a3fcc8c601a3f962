// What a sweep should cost by the formulas of the circuits specification, section 7: multiply-adds of products with weights.
// Internal to the sweep.
#pragma once

#include "microtome/circuits/sweep/layer.h"

namespace microtome::sweep {

// A full forward of the host with the logits of every position.
int64_t plain_macs(const Item& item, const Config& config);

// From the state where these rows of the item's stream change (its route's point and layer) to the wanted logits.
int64_t macs_onward(const Item& item, const std::vector<int32_t>& changed, const Config& config);

}  // namespace microtome::sweep
