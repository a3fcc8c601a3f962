// Statistics of attention patterns that are never stored: how much of each query's attention lies on keys that a caller lists.
//
//   KeyLists lists(2);
//   for (int64_t i = 0; i < T; ++i) lists.add_row({{0}, i > 0 ? std::vector<int32_t>{i - 1} : std::vector<int32_t>{}});
//   attention_block_mass(shape, keys, rows, n_rows, lists, row_of, z, mass, scratch);   // mass[i][list] = Σ_{j in list} p_ij
//
// The entries summed are the bits that the staged pattern has: they are read from the fused kernel's tile while it lies in cache.
// Sums run in double, in the order of the list. Keys that a row does not see count 0. Runs on the calling thread.
#pragma once

#include <span>
#include <vector>

#include "microtome/kernels/attention.h"

namespace microtome {

// For every row (of a pass) the same number of lists of logical keys.
class KeyLists {
 public:
  explicit KeyLists(int n_lists = 0, bool entropy = false) : n_lists_(n_lists), entropy_(entropy) {}

  // One row more; its lists, as many as n_lists.
  void add_row(const std::vector<std::vector<int32_t>>& lists);

  int n_lists() const { return n_lists_; }
  // The number after the lists: the pattern's entropy in nats, -Σ p ln p.
  bool entropy() const { return entropy_; }
  // Numbers for each row and head.
  int width() const { return n_lists_ + (entropy_ ? 1 : 0); }
  int64_t rows() const { return n_lists_ == 0 ? 0 : static_cast<int64_t>(ends_.size()) / n_lists_; }
  std::span<const int32_t> keys(int64_t row, int list) const;

  // out[width] of a pattern row that is 0 or undefined outside of [begin, end).
  void sum(int64_t row, const float* pattern, int64_t begin, int64_t end, double* out) const;

 private:
  int n_lists_;
  bool entropy_;
  std::vector<int32_t> keys_;
  std::vector<int64_t> ends_;  // [rows, n_lists]
};

// attention_block, and mass[i][lists.width()] of row i, whose lists are those of row row_of[i].
void attention_block_mass(const AttentionShape& shape, const KeyBlocks& keys, const QueryRow* rows, int64_t n_rows,
                          const KeyLists& lists, const int64_t* row_of, float* const* z, double* const* mass, std::byte* scratch);

}  // namespace microtome
