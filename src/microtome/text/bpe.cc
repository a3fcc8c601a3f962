#include "microtome/text/bpe.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <queue>

#include "microtome/base/error.h"

namespace microtome {
namespace {

// Pieces up to this length are merged by scanning, longer ones with a heap.
constexpr size_t kShort = 32;

uint64_t mix(uint64_t x) {
  x ^= x >> 32;
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 29;
}

uint32_t hash_bytes(std::string_view bytes) {
  uint64_t h = bytes.size() * 0xFF51AFD7ED558CCDu;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    h = mix(h ^ word) * 0xC2B2AE3D27D4EB4Fu;
  }
  uint64_t tail = 0;
  if (i < bytes.size()) std::memcpy(&tail, bytes.data() + i, bytes.size() - i);
  return static_cast<uint32_t>(mix(h ^ tail) >> 16);
}

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

size_t slots_for(size_t entries) {
  size_t slots = 1024;
  while (slots < 2 * entries) slots *= 2;
  return slots;
}

}  // namespace

Bpe::Bpe() { std::fill(std::begin(byte_ids_), std::end(byte_ids_), kNone); }

void Bpe::reserve(size_t tokens, size_t merges, size_t bytes) {
  grow_tokens(slots_for(tokens));
  grow_merges(slots_for(merges));
  text_.reserve(bytes);
}

void Bpe::grow_tokens(size_t slots) {
  if (slots <= tokens_.size()) return;
  std::vector<Entry> old = std::move(tokens_);
  tokens_.assign(slots, {});
  for (const Entry& entry : old) {
    if (entry.id == kNone) continue;
    size_t slot = entry.hash & (slots - 1);
    while (tokens_[slot].id != kNone) slot = (slot + 1) & (slots - 1);
    tokens_[slot] = entry;
  }
}

void Bpe::grow_merges(size_t slots) {
  if (slots <= merges_.size()) return;
  std::vector<Merge> old = std::move(merges_);
  merges_.assign(slots, {});
  n_merges_ = 0;
  for (const Merge& merge : old) {
    if (merge.merged != kNone) put_merge(merge);
  }
}

void Bpe::add_token(int32_t id, std::string_view bytes) {
  MT_CHECK(id >= 0);
  if (bytes.empty() || find(bytes) != kNone) return;
  if (text_.size() + bytes.size() > std::numeric_limits<uint32_t>::max())
    throw Error(ErrorKind::kUnsupported, "tokenizer: the vocabulary holds over 4 GB of text");
  grow_tokens(slots_for(++n_tokens_));
  const uint32_t hash = hash_bytes(bytes);
  size_t slot = hash & (tokens_.size() - 1);
  while (tokens_[slot].id != kNone) slot = (slot + 1) & (tokens_.size() - 1);
  tokens_[slot] = {hash, static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(bytes.size()), id};
  text_ += bytes;
  max_id_ = std::max(max_id_, id);
  if (bytes.size() == 1) byte_ids_[static_cast<uint8_t>(bytes[0])] = id;
}

int32_t Bpe::find(std::string_view bytes) const {
  if (tokens_.empty() || bytes.empty()) return kNone;
  const uint32_t hash = hash_bytes(bytes);
  for (size_t slot = hash & (tokens_.size() - 1); tokens_[slot].id != kNone; slot = (slot + 1) & (tokens_.size() - 1)) {
    const Entry& entry = tokens_[slot];
    if (entry.hash == hash && std::string_view(text_).substr(entry.offset, entry.length) == bytes) return entry.id;
  }
  return kNone;
}

void Bpe::put_merge(const Merge& merge) {
  size_t slot = mix(merge.pair) & (merges_.size() - 1);
  while (merges_[slot].merged != kNone && merges_[slot].pair != merge.pair) slot = (slot + 1) & (merges_.size() - 1);
  if (merges_[slot].merged == kNone) ++n_merges_;
  merges_[slot] = merge;
}

bool Bpe::add_merge(std::string_view left, std::string_view right) {
  const int32_t a = find(left), b = find(right);
  std::array<char, 256> joined;
  int32_t merged;
  if (left.size() + right.size() <= joined.size()) {
    std::copy(left.begin(), left.end(), joined.begin());
    std::copy(right.begin(), right.end(), joined.begin() + left.size());
    merged = find({joined.data(), left.size() + right.size()});
  } else {
    merged = find(std::string(left) + std::string(right));
  }
  if (a == kNone || b == kNone || merged == kNone) return false;
  grow_merges(slots_for(n_merges_ + 1));
  put_merge({pair_key(a, b), next_rank_++, merged});
  return true;
}

void Bpe::finish() {
  whole_ = std::make_unique<std::atomic<uint8_t>[]>(static_cast<size_t>(max_id_) + 1);
  for (int32_t id = 0; id <= max_id_; ++id) whole_[id].store(kUnknown, std::memory_order_relaxed);
}

const Bpe::Merge* Bpe::merge_of(int32_t left, int32_t right) const {
  if (merges_.empty()) return nullptr;
  const uint64_t pair = pair_key(left, right);
  for (size_t slot = mix(pair) & (merges_.size() - 1); merges_[slot].merged != kNone; slot = (slot + 1) & (merges_.size() - 1)) {
    if (merges_[slot].pair == pair) return &merges_[slot];
  }
  return nullptr;
}

void Bpe::encode_piece(std::string_view piece, std::vector<int32_t>& ids) const {
  const int32_t id = find(piece);
  if (id != kNone) {
    const uint8_t known = whole_[id].load(std::memory_order_relaxed);
    if (known == kYes || ignore_merges_ || piece.size() == 1) {
      ids.push_back(id);
      return;
    }
    const size_t before = ids.size();
    piece.size() <= kShort ? merge_short(piece, ids) : merge_long(piece, ids);
    if (known == kUnknown)
      whole_[id].store(ids.size() == before + 1 && ids[before] == id ? kYes : kNo, std::memory_order_relaxed);
    return;
  }
  piece.size() <= kShort ? merge_short(piece, ids) : merge_long(piece, ids);
}

void Bpe::merge_short(std::string_view piece, std::vector<int32_t>& ids) const {
  constexpr uint32_t kNoRank = std::numeric_limits<uint32_t>::max();
  int32_t symbol[kShort];
  const Merge* merge[kShort];  // merge[i]: of symbol i and i + 1
  size_t n = 0;
  for (const char c : piece) {
    if (const int32_t id = byte_ids_[static_cast<uint8_t>(c)]; id != kNone) symbol[n++] = id;
  }
  for (size_t i = 0; i + 1 < n; ++i) merge[i] = merge_of(symbol[i], symbol[i + 1]);
  while (n > 1) {
    size_t best = 0;
    uint32_t best_rank = kNoRank;
    for (size_t i = 0; i + 1 < n; ++i) {
      if (merge[i] && merge[i]->rank < best_rank) best_rank = merge[i]->rank, best = i;
    }
    if (best_rank == kNoRank) break;
    symbol[best] = merge[best]->merged;
    for (size_t i = best + 1; i + 1 < n; ++i) symbol[i] = symbol[i + 1], merge[i] = i + 2 < n ? merge[i + 1] : nullptr;
    --n;
    if (best > 0) merge[best - 1] = merge_of(symbol[best - 1], symbol[best]);
    if (best + 1 < n) merge[best] = merge_of(symbol[best], symbol[best + 1]);
  }
  ids.insert(ids.end(), symbol, symbol + n);
}

void Bpe::merge_long(std::string_view piece, std::vector<int32_t>& ids) const {
  struct Symbol {  // a doubly linked list; id kNone once merged into its left neighbour
    int32_t id;
    uint32_t previous, next;
  };
  struct Candidate {
    uint32_t rank, position;
    int32_t left, right;  // stale if these are no longer the pair at `position`
    bool operator>(const Candidate& other) const { return rank != other.rank ? rank > other.rank : position > other.position; }
  };
  constexpr uint32_t kEnd = std::numeric_limits<uint32_t>::max();
  if (piece.size() >= kEnd) throw Error(ErrorKind::kInvalidArgument, "tokenizer: a piece of text of {} bytes", piece.size());

  std::vector<Symbol> symbols;
  symbols.reserve(piece.size());
  for (const char c : piece) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id == kNone) continue;
    const auto i = static_cast<uint32_t>(symbols.size());
    symbols.push_back({id, i == 0 ? kEnd : i - 1, i + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = kEnd;

  std::vector<Candidate> storage;
  storage.reserve(symbols.size());
  for (uint32_t i = 0; i + 1 < symbols.size(); ++i) {
    const Merge* merge = merge_of(symbols[i].id, symbols[i + 1].id);
    if (merge) storage.push_back({merge->rank, i, symbols[i].id, symbols[i + 1].id});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue(std::greater<>(), std::move(storage));
  const auto consider = [&](uint32_t left) {
    if (left == kEnd || symbols[left].next == kEnd) return;
    const Symbol& right = symbols[symbols[left].next];
    if (const Merge* merge = merge_of(symbols[left].id, right.id)) queue.push({merge->rank, left, symbols[left].id, right.id});
  };
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Symbol& left = symbols[top.position];
    if (left.id != top.left || left.next == kEnd || symbols[left.next].id != top.right) continue;
    Symbol& right = symbols[left.next];
    left.id = merge_of(top.left, top.right)->merged;
    right.id = kNone;
    left.next = right.next;
    if (left.next != kEnd) symbols[left.next].previous = top.position;
    consider(left.previous);
    consider(top.position);
  }
  for (uint32_t i = 0; i != kEnd; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace microtome
