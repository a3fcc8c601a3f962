// Walks a token table block by block (internal to algebra/).
//
//   stream_table(table, progress, [&](const TableBlock& b) { ... });     // on several threads at once
//
// A block of the product stays in the second-level cache between being made and being searched. Blocks of the same rows come one
// after the other on one thread, by rising column; different rows come on any thread, in any order.
#pragma once

#include <algorithm>
#include <vector>

#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/token_tables.h"
#include "microtome/kernels/gemm.h"

namespace microtome::algebra {

struct TableBlock {
  int64_t piece = 0;  // which rows: [row, row + rows)
  int64_t row = 0, rows = 0, column = 0, columns = 0;
  const float* values = nullptr;  // [rows, columns]
};

inline constexpr int64_t kBlockRows = 120, kBlockColumns = 16 * kPanelWidth;

inline int64_t table_pieces(const TokenTable& t) { return (t.rows() + kBlockRows - 1) / kBlockRows; }

template <class Sink>
void stream_table(const TokenTable& t, Progress* progress, Sink&& sink) {
  const int64_t k = t.right.view.k, n = t.cols();
  const int64_t block_bytes = packed_panel_bytes(t.right.view.format, k) * (kBlockColumns / kPanelWidth);
  if (progress) progress->begin("token table", static_cast<double>(t.rows()));
  parallel_for(t.rows(), kBlockRows, [&](int64_t begin, int64_t end) {
    std::vector<float> values(static_cast<size_t>((end - begin) * std::min(n, kBlockColumns)));
    for (int64_t column = 0; column < n; column += kBlockColumns) {
      if (t.cancel) t.cancel->check();
      PackedView part = t.right.view;
      part.data += column / kBlockColumns * block_bytes;
      part.n = std::min(kBlockColumns, n - column);
      gemm(t.left.f32() + begin * k, end - begin, part, values.data());
      sink(TableBlock{begin / kBlockRows, begin, end - begin, column, part.n, values.data()});
    }
    if (progress) progress->step(static_cast<double>(end - begin));
  });
}

// Calls found(column, value) for every value of a row that is at least `threshold()`, in order. The threshold may rise on the
// way.
template <class Threshold, class Found>
void scan_row(const float* values, int64_t n, Threshold&& threshold, Found&& found) {
  constexpr int64_t kChunk = 64;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t count = std::min(kChunk, n - begin);
    const float least = threshold();
    int hits = 0;
    if (count == kChunk) {
      for (int64_t j = 0; j < kChunk; ++j) hits |= static_cast<int>(values[begin + j] >= least);
    } else {
      hits = 1;
    }
    if (hits == 0) continue;
    for (int64_t j = 0; j < count; ++j)
      if (values[begin + j] >= threshold()) found(begin + j, values[begin + j]);
  }
}

}  // namespace microtome::algebra
