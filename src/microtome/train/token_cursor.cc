#include "microtome/train/token_cursor.h"

#include <algorithm>
#include <numeric>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome {

TokenCursor::TokenCursor(std::vector<std::vector<int32_t>> documents, int64_t window, uint64_t seed, std::optional<int32_t> first)
    : documents_(std::move(documents)), window_(window), own_tokens_(window - (first ? 1 : 0)), seed_(seed), first_(first) {
  MT_CHECK(own_tokens_ >= 1);
  for (int64_t d = 0; d < std::ssize(documents_); ++d)
    for (int64_t at = 0; at + own_tokens_ <= std::ssize(documents_[d]); at += own_tokens_) windows_.push_back({d, at});
  if (windows_.empty())
    throw Error(ErrorKind::kInvalidArgument, "none of the {} documents has {} tokens; give longer texts or a smaller --context",
                documents_.size(), own_tokens_);
}

const std::vector<int64_t>& TokenCursor::order(int64_t epoch) {
  if (epoch == epoch_) return order_;
  epoch_ = epoch;
  order_.resize(windows_.size());
  std::iota(order_.begin(), order_.end(), 0);
  const Philox rng(seed_, "token windows");
  for (size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.below(i, i, static_cast<uint64_t>(epoch))]);
  return order_;
}

std::vector<int32_t> TokenCursor::at(int64_t position) {
  const Window& w = windows_[order(position / windows())[position % windows()]];
  std::vector<int32_t> tokens;
  tokens.reserve(window_);
  if (first_) tokens.push_back(*first_);
  const auto begin = documents_[w.document].begin() + w.offset;
  tokens.insert(tokens.end(), begin, begin + own_tokens_);
  return tokens;
}

}  // namespace microtome
