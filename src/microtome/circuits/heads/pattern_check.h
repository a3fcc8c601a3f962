// Whether a tensor from elsewhere is an attention pattern.
//
//   check_pattern(pattern);   // [H, T, T]; throws InvalidArgument: "head 3, row 5, column 9: ..."
//
// A pattern has finite entries of at least 0, none above the diagonal, and rows that sum to 1 within 1e-3. Pure; any thread.
#pragma once

#include "microtome/tensor/tensor.h"

namespace microtome::heads {

void check_pattern(const Tensor& pattern);

}  // namespace microtome::heads
