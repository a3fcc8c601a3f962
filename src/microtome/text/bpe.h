// Byte-pair encoding over bytes: the table of tokens and the merges, and the encoding of one piece.
//
//   Bpe bpe;
//   for (...) bpe.add_token(id, bytes);
//   for (...) bpe.add_merge("a", "b");             // best first
//   bpe.finish();
//   bpe.encode_piece(" the", ids);
//
// A piece starts as one token per byte; the leftmost pair of the best rank is merged until none is left (Sennrich et al.,
// 1508.07909). Cost is O(n log n) in the length of the piece. Threads: after `finish`, `encode_piece` may be called from several
// threads at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace microtome {

class Bpe {
 public:
  static constexpr int32_t kNone = -1;

  // The bytes are copied. If two ids have the same bytes, the first one added is the one that encoding finds.
  void reserve(size_t tokens, size_t merges, size_t bytes);
  void add_token(int32_t id, std::string_view bytes);
  // Writes a byte that has no token as `id` (byte fallback, or the unknown token).
  void set_byte(uint8_t byte, int32_t id) { byte_ids_[byte] = id; }
  // A pair added twice takes its last rank, as in the reference. False if one of the three has no token.
  bool add_merge(std::string_view left, std::string_view right);
  // A piece that is a token as a whole is not split, whatever the merges say.
  void set_ignore_merges(bool on) { ignore_merges_ = on; }
  void finish();

  // Appends the ids. Bytes without a token are left out.
  void encode_piece(std::string_view piece, std::vector<int32_t>& ids) const;

  int32_t find(std::string_view bytes) const;  // kNone if there is no such token
  int32_t byte_id(uint8_t byte) const { return byte_ids_[byte]; }

 private:
  struct Entry {  // a token
    uint32_t hash = 0, offset = 0, length = 0;
    int32_t id = kNone;
  };
  struct Merge {
    uint64_t pair = ~uint64_t{0};  // left id << 32 | right id
    uint32_t rank = 0;
    int32_t merged = kNone;
  };
  enum Whole : uint8_t { kUnknown, kYes, kNo };

  const Merge* merge_of(int32_t left, int32_t right) const;
  void put_merge(const Merge& merge);
  void grow_tokens(size_t slots);
  void grow_merges(size_t slots);
  void merge_short(std::string_view piece, std::vector<int32_t>& ids) const;
  void merge_long(std::string_view piece, std::vector<int32_t>& ids) const;

  std::string text_;           // the tokens' bytes, one after the other
  std::vector<Entry> tokens_;  // open addressing by hash of the bytes; a power of two
  std::vector<Merge> merges_;  // open addressing by pair; a power of two
  size_t n_tokens_ = 0, n_merges_ = 0;
  uint32_t next_rank_ = 0;
  int32_t max_id_ = -1;
  int32_t byte_ids_[256];
  bool ignore_merges_ = false;
  // whole_[id]: does encoding the token's own bytes give just this token? Found when first asked; races are harmless, as
  // every thread finds the same.
  std::unique_ptr<std::atomic<uint8_t>[]> whole_;

 public:
  Bpe();
};

}  // namespace microtome
