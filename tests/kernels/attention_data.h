// Shapes and visible sets that attention is tested and measured on, and views of plain arrays in the form its kernels take.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "microtome/kernels/attention.h"
#include "microtome/kernels/reference_attention.h"

namespace microtome::op_table {

struct AttentionData {
  std::string name;
  AttentionShape shape;
  int64_t rows = 0, keys = 0;
  int64_t group = 1;   // rows per position (query heads that share the key head)
  int64_t window = 0;  // > 0: a row sees its last `window` keys
  bool causal = true;  // the last position sees all keys, the one before it one less
  bool biased = false;
  bool slots = false;  // keys scattered over the blocks, in another order for every third position

  int64_t n_blocks() const { return (keys + kKeyBlock - 1) / kKeyBlock; }
  int64_t end(int64_t i) const { return causal ? keys - (rows - 1) / group + i / group : keys; }
  int64_t begin(int64_t i) const { return window > 0 ? std::max<int64_t>(0, end(i) - window) : 0; }
  int64_t pairs() const {
    int64_t n = 0;
    for (int64_t i = 0; i < rows; ++i) n += end(i) - begin(i);
    return n;
  }
};

template <class T>
std::vector<T*> row_pointers(T* data, int64_t rows, int64_t stride) {
  std::vector<T*> pointers;
  for (int64_t i = 0; i < rows; ++i) pointers.push_back(data + i * stride);
  return pointers;
}

// in: q [rows, d], k [slots, d], v [slots, dv], each of which may be empty where it is not used. Holds its own copies.
template <class T>
struct View {
  AttentionData s;
  std::vector<std::vector<T>> in;
  std::vector<const T*> k, v;
  std::vector<int32_t> slot_maps[2];
  std::vector<T> bias;
  std::vector<QueryRow> rows;  // q and bias only if T is float
  mutable std::vector<std::byte> buffer;

  View(const View&) = delete;
  View(const AttentionData& data, std::vector<std::vector<T>> arrays) : s(data), in(std::move(arrays)) {
    if (in.size() < 3) in.resize(3);
    const T* values = in[2].data();
    k = row_pointers<const T>(in[1].data(), s.n_blocks(), in[1].empty() ? 0 : kKeyBlock * s.shape.d);
    v = row_pointers<const T>(values, s.n_blocks(), in[2].empty() ? 0 : kKeyBlock * s.shape.dv);
    for (int m = 0; m < 2; ++m) {
      const int64_t n = s.n_blocks() * kKeyBlock;
      for (int64_t j = 0; j < s.keys; ++j) slot_maps[m].push_back(static_cast<int32_t>((j * (m ? 3 : 5) + 11 * m) % n));
    }
    for (int64_t j = 0; j < s.keys; ++j) bias.push_back(static_cast<T>(static_cast<float>(j % 7) * -0.25f));
    for (int64_t i = 0; i < s.rows; ++i) {
      QueryRow row;
      if constexpr (std::is_same_v<T, float>) {
        row.q = in[0].empty() ? nullptr : in[0].data() + i * s.shape.d;
        row.bias = s.biased ? bias.data() : nullptr;
      }
      row.slots = s.slots ? slot_maps[i / s.group % 3 == 1].data() : nullptr;
      row.begin = static_cast<int32_t>(s.begin(i));
      row.end = static_cast<int32_t>(s.end(i));
      rows.push_back(row);
    }
  }

  KeyBlocks blocks() const { return {k.data(), v.data()}; }
  reference::KeyRows<T> keys() const { return {s.shape.d, s.shape.dv, T(s.shape.scale), T(s.shape.softcap), k.data(), v.data()}; }
  reference::Query<T> query(int64_t i) const {
    const QueryRow& row = rows[static_cast<size_t>(i)];
    return {in[0].empty() ? nullptr : in[0].data() + i * s.shape.d, row.slots, row.begin, row.end,
            s.biased ? bias.data() : nullptr};
  }
  std::byte* scratch() const {
    buffer.resize(static_cast<size_t>(attention_scratch_bytes(s.shape, s.keys)) + 64);
    return buffer.data() + (64 - reinterpret_cast<uintptr_t>(buffer.data()) % 64) % 64;
  }
};

inline std::vector<AttentionData> attention_data(bool bench) {
  const auto shape = [](int64_t d, int64_t dv, float cap) {
    return AttentionShape{d, dv, 1 / std::sqrt(static_cast<float>(d)), cap};
  };
  if (bench) {
    return {{"prefill_512", shape(64, 64, 0), 3 * 512, 512, 3, 0, true, false, false},
            {"prefill_tail_8192", shape(64, 64, 0), 3 * 64, 8192, 3, 0, true, false, false},
            {"decode_4096", shape(64, 64, 0), 3, 4096, 3, 0, true, false, false},
            {"decode_one_4096", shape(64, 64, 0), 1, 4096, 1, 0, true, false, false}};
  }
  return {{"causal", shape(64, 64, 0), 3 * 30, 30, 3, 0, true, false, false},
          {"one_row", shape(64, 64, 0), 1, 131, 1, 0, true, false, false},
          {"chunk_after_cache", shape(16, 16, 0), 2 * 9, 150, 2, 0, true, false, false},
          {"odd_widths", shape(13, 7, 0), 7, 70, 1, 0, true, false, false},
          {"wide_values", shape(8, 101, 0), 8, 67, 1, 0, false, false, false},
          {"capped_biased", shape(20, 24, 2.0f), 2 * 10, 77, 2, 0, true, true, false},
          {"window", shape(32, 32, 0), 40, 140, 1, 20, true, true, false},
          {"scattered", shape(32, 32, 0), 3 * 8, 100, 3, 50, true, false, true},
          {"single_key", shape(4, 4, 0), 1, 1, 1, 0, true, false, false}};
}

}  // namespace microtome::op_table
