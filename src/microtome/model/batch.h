// Batch: the rows of one forward pass, ragged: each row is one token of one sequence, at one position.
//
//   Batch batch;
//   batch.add_sequence(tokens);                    // positions 0.., everything before is visible
//   batch.add_sequence({next}, &cache, 17);        // one more token behind a cache of 17
//
// Rows of a sequence lie together, positions rising unless a row names what it sees.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "microtome/model/kv_cache.h"

namespace microtome {

struct Sequence {
  KvCache* cache = nullptr;  // earlier tokens; appended to. Null: none, and nothing is kept.
  int64_t row_begin = 0, row_end = 0;
  int64_t prompt_length = 0;  // tokens of the prompt: where negative positions count from, and generated ones begin
  bool replace = false;       // rows write over the slots of their positions, which the cache holds, instead of being appended
};

struct Batch {
  std::vector<int32_t> tokens;     // [rows]
  std::vector<int32_t> positions;  // [rows]
  std::vector<Sequence> sequences;
  // Slots that a row sees, rising, its own included (token trees); empty, or an empty entry: all slots up to its own.
  // Slots count from the sequence's first; a row's own slot is cache length + its number among the sequence's rows.
  std::vector<std::vector<int32_t>> visible;

  int64_t rows() const { return static_cast<int64_t>(tokens.size()); }

  // Appends a sequence's rows at positions first_position, ...; prompt_length < 0: all of it is prompt.
  Sequence& add_sequence(std::span<const int32_t> ids, KvCache* cache = nullptr, int64_t first_position = 0,
                         int64_t prompt_length = -1);
};

}  // namespace microtome
