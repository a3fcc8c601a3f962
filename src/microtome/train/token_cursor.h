// Windows of tokens for training, in an order that is random, the same for the same seed, and can be taken up anywhere.
//
//   TokenCursor cursor(std::move(documents), 128, seed);
//   std::vector<int32_t> window = cursor.next();       // 128 tokens of one document
//   cursor.seek(cursor.position());                     // what a checkpoint holds
//
// A document of n tokens gives floor(n / T) windows; shorter ones give none. Each epoch is a permutation of all windows of its
// own; window i of the whole run is known without those before it. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace microtome {

class TokenCursor {
 public:
  // `first`: a token put before the window's own, of which there are then T - 1 (the tokenizer's beginning of text).
  // Throws InvalidArgument if no document holds a window.
  TokenCursor(std::vector<std::vector<int32_t>> documents, int64_t window, uint64_t seed, std::optional<int32_t> first = {});

  std::vector<int32_t> next() { return at(position_++); }
  std::vector<int32_t> at(int64_t position);

  int64_t position() const { return position_; }
  void seek(int64_t position) { position_ = position; }

  // In one epoch.
  int64_t windows() const { return static_cast<int64_t>(windows_.size()); }

 private:
  struct Window {
    int64_t document, offset;
  };
  const std::vector<int64_t>& order(int64_t epoch);

  std::vector<std::vector<int32_t>> documents_;
  std::vector<Window> windows_;
  int64_t window_, own_tokens_, position_ = 0;
  uint64_t seed_;
  std::optional<int32_t> first_;
  int64_t epoch_ = -1;  // whose order is held
  std::vector<int64_t> order_;
};

}  // namespace microtome
