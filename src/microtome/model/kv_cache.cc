#include "microtome/model/kv_cache.h"

#include <algorithm>

#include "microtome/base/error.h"

namespace microtome {

float* HeadCache::writable(int64_t block) {
  if (block == std::ssize(blocks_)) {
    // Zeroed: kernels read whole blocks, and what they mask must be finite.
    blocks_.push_back(std::make_shared<Tensor>(Tensor::zeros({kKeyBlock * (d_ + dv_)})));
  } else if (blocks_[block].use_count() > 1) {
    blocks_[block] = std::make_shared<Tensor>(blocks_[block]->clone());
  }
  return blocks_[block]->f32();
}

void HeadCache::write(int64_t slot, const float* k, const float* v) {
  float* block = writable(slot / kKeyBlock);
  std::copy_n(k, d_, block + slot % kKeyBlock * d_);
  std::copy_n(v, dv_, block + kKeyBlock * d_ + slot % kKeyBlock * dv_);
}

int32_t HeadCache::append(const float* k, const float* v, int32_t position) {
  const int64_t slot = length();
  write(slot, k, v);
  positions_.push_back(position);
  return static_cast<int32_t>(slot);
}

void HeadCache::replace(int64_t slot, const float* k, const float* v) {
  MT_CHECK(slot >= 0 && slot < length());
  write(slot, k, v);
}

void HeadCache::truncate(int64_t length) {
  MT_CHECK(length >= 0);
  if (length >= this->length()) return;
  positions_.resize(length);
  blocks_.resize((length + kKeyBlock - 1) / kKeyBlock);
}

void HeadCache::compact(std::span<const int32_t> slots) {
  for (size_t i = 0; i < slots.size(); ++i) {
    MT_CHECK(slots[i] >= static_cast<int32_t>(i) && slots[i] < length() && (i == 0 || slots[i] > slots[i - 1]));
    if (slots[i] == static_cast<int32_t>(i)) continue;
    const int64_t to = static_cast<int64_t>(i);
    float* block = writable(to / kKeyBlock);
    std::copy_n(key(slots[i]), d_, block + to % kKeyBlock * d_);
    std::copy_n(value(slots[i]), dv_, block + kKeyBlock * d_ + to % kKeyBlock * dv_);
    positions_[i] = positions_[slots[i]];
  }
  truncate(std::ssize(slots));
}

std::vector<const float*> HeadCache::key_blocks() const {
  std::vector<const float*> out;
  out.reserve(blocks_.size());
  for (const Block& b : blocks_) out.push_back(std::as_const(*b).f32());
  return out;
}

std::vector<const float*> HeadCache::value_blocks() const {
  std::vector<const float*> out;
  out.reserve(blocks_.size());
  for (const Block& b : blocks_) out.push_back(std::as_const(*b).f32() + kKeyBlock * d_);
  return out;
}

std::vector<std::shared_ptr<void>> HeadCache::owners() const { return {blocks_.begin(), blocks_.end()}; }

const float* HeadCache::key(int64_t slot) const {
  return std::as_const(*blocks_[slot / kKeyBlock]).f32() + slot % kKeyBlock * d_;
}

const float* HeadCache::value(int64_t slot) const {
  return std::as_const(*blocks_[slot / kKeyBlock]).f32() + kKeyBlock * d_ + slot % kKeyBlock * dv_;
}

KvCache::KvCache(int64_t n_layers, int64_t n_kv_heads, int64_t d, int64_t dv)
    : n_layers_(n_layers), n_kv_heads_(n_kv_heads), heads_(n_layers * n_kv_heads, HeadCache(d, dv)) {}

void KvCache::truncate(int64_t length, int64_t first_layer) {
  for (int64_t l = first_layer; l < n_layers_; ++l)
    for (int64_t h = 0; h < n_kv_heads_; ++h) head(l, h).truncate(length);
}

void KvCache::compact(std::span<const int32_t> slots) {
  for (HeadCache& h : heads_) h.compact(slots);
}

size_t KvCache::bytes() const {
  size_t total = 0;
  for (const HeadCache& h : heads_) total += h.bytes();
  return total;
}

}  // namespace microtome
