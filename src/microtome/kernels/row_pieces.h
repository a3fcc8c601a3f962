// How the fused kernels cut their work for parallel_for: pieces of about 16384 values, whatever the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

namespace microtome::internal {

inline constexpr int64_t kPieceValues = 16384;
inline constexpr int64_t kPieceColumns = 256;
inline constexpr int64_t kColumnBlockRows = 64;  // rows summed on their own before they are added to a column's total

inline int64_t piece_rows(int64_t d) { return std::max<int64_t>(1, kPieceValues / std::max<int64_t>(1, d)); }

}  // namespace microtome::internal
