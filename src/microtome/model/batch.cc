#include "microtome/model/batch.h"

namespace microtome {

Sequence& Batch::add_sequence(std::span<const int32_t> ids, KvCache* cache, int64_t first_position, int64_t prompt_length) {
  const int64_t begin = rows(), n = static_cast<int64_t>(ids.size());
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  for (int64_t i = 0; i < n; ++i) positions.push_back(static_cast<int32_t>(first_position + i));
  sequences.push_back({cache, begin, begin + n, prompt_length < 0 ? first_position + n : prompt_length});
  return sequences.back();
}

}  // namespace microtome
