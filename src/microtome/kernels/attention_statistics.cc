#include "microtome/kernels/attention_statistics.h"

#include <cmath>

#include "microtome/base/error.h"
#include "microtome/kernels/attention_tile.h"

namespace microtome {

void KeyLists::add_row(const std::vector<std::vector<int32_t>>& lists) {
  MT_CHECK_EQ(static_cast<int>(lists.size()), n_lists_);
  for (const std::vector<int32_t>& list : lists) {
    keys_.insert(keys_.end(), list.begin(), list.end());
    ends_.push_back(static_cast<int64_t>(keys_.size()));
  }
}

std::span<const int32_t> KeyLists::keys(int64_t row, int list) const {
  const size_t at = static_cast<size_t>(row * n_lists_ + list);
  const int64_t begin = at == 0 ? 0 : ends_[at - 1];
  return {keys_.data() + begin, static_cast<size_t>(ends_[at] - begin)};
}

void KeyLists::sum(int64_t row, const float* pattern, int64_t begin, int64_t end, double* out) const {
  for (int list = 0; list < n_lists_; ++list) {
    double total = 0;
    for (const int32_t j : keys(row, list))
      if (j >= begin && j < end) total += pattern[j];
    out[list] = total;
  }
  if (!entropy_) return;
  double entropy = 0;
  for (int64_t j = begin; j < end; ++j)
    if (pattern[j] > 0) entropy -= static_cast<double>(pattern[j]) * std::log(pattern[j]);
  out[n_lists_] = entropy;
}

void attention_block_mass(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                          const KeyLists& lists, const int64_t* row_of, float* const* z, double* const* mass,
                          std::byte* scratch) {
  internal::attention_block_tiles(shape, keys, rows, n_rows, z, nullptr, scratch,
                                  [&](const internal::AttentionTile& tile, int64_t first, const float* pattern, int64_t ld) {
                                    for (int64_t i = 0; i < tile.n_rows; ++i)
                                      lists.sum(row_of[first + i], pattern + i * ld, tile.rows[i].begin, tile.rows[i].end,
                                                mass[first + i]);
                                  });
}

}  // namespace microtome
