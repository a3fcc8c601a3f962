// The KV cache of one sequence: keys and values per layer and key/value head, in blocks of 64 slots, with explicit positions.
//
//   KvCache cache(config);
//   KvCache branch = cache.fork();        // shares the blocks; a shared block is copied when one side writes to it
//   branch.truncate(17);                  // keep the first 17 slots
//   branch.compact({0, 1, 2, 5});         // keep these slots, in this order
//
// Each head of each layer has a length and positions of its own, so that a policy may keep different tokens in different heads
// and a pass may restart at any layer. What is stored as key (rotated or not) is the attention policy's choice. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "microtome/kernels/attention.h"
#include "microtome/tensor/tensor.h"

namespace microtome {

class HeadCache {
 public:
  HeadCache(int64_t d, int64_t dv) : d_(d), dv_(dv) {}

  int64_t length() const { return static_cast<int64_t>(positions_.size()); }
  const std::vector<int32_t>& positions() const { return positions_; }

  // k [d], v [dv] into the next slot, which is returned.
  int32_t append(const float* k, const float* v, int32_t position);
  // Writes over a slot that is held.
  void replace(int64_t slot, const float* k, const float* v);
  void truncate(int64_t length);
  // Keeps slots[0], slots[1], ... (rising) as slots 0, 1, ...
  void compact(std::span<const int32_t> slots);

  // Pointers per block, for the kernels; valid until the next change.
  std::vector<const float*> key_blocks() const;
  std::vector<const float*> value_blocks() const;
  std::vector<std::shared_ptr<void>> owners() const;
  const float* key(int64_t slot) const;
  const float* value(int64_t slot) const;
  size_t bytes() const { return blocks_.size() * kKeyBlock * static_cast<size_t>(d_ + dv_) * sizeof(float); }

 private:
  using Block = std::shared_ptr<Tensor>;  // [64 * d keys, then 64 * dv values]
  float* writable(int64_t block);
  void write(int64_t slot, const float* k, const float* v);
  int64_t d_, dv_;
  std::vector<int32_t> positions_;
  std::vector<Block> blocks_;
};

class KvCache {
 public:
  KvCache(int64_t n_layers, int64_t n_kv_heads, int64_t d, int64_t dv);

  HeadCache& head(int64_t layer, int64_t kv_head) { return heads_[layer * n_kv_heads_ + kv_head]; }
  const HeadCache& head(int64_t layer, int64_t kv_head) const { return heads_[layer * n_kv_heads_ + kv_head]; }
  int64_t n_layers() const { return n_layers_; }
  int64_t n_kv_heads() const { return n_kv_heads_; }

  // Slots held by the first head of a layer (all heads, under policies that treat them alike).
  int64_t length(int64_t layer = 0) const { return n_layers_ == 0 ? 0 : head(layer, 0).length(); }

  KvCache fork() const { return *this; }
  void truncate(int64_t length, int64_t first_layer = 0);
  void compact(std::span<const int32_t> slots);
  size_t bytes() const;

 private:
  int64_t n_layers_, n_kv_heads_;
  std::vector<HeadCache> heads_;
};

}  // namespace microtome
