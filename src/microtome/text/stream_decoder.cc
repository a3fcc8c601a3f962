#include "microtome/text/stream_decoder.h"

#include <utility>

#include "microtome/base/utf8.h"

namespace microtome {

std::string StreamDecoder::push(int id) {
  const std::string_view bytes = tokenizer_->token_bytes(id);
  if (skip_special_ && tokenizer_->is_special(id)) return {};
  pending_ += bytes;
  // Only the last three bytes can begin a character that is still to end.
  size_t keep = 0;
  for (size_t n = 1; n <= 3 && n <= pending_.size(); ++n) {
    if (utf8_is_incomplete(std::string_view(pending_).substr(pending_.size() - n))) keep = n;
  }
  std::string out = pending_.substr(0, pending_.size() - keep);
  pending_.erase(0, pending_.size() - keep);
  return out;
}

std::string StreamDecoder::flush() { return std::exchange(pending_, {}); }

}  // namespace microtome
