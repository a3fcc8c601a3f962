// What a Tokenizer holds, and the steps by which its loaders fill it. Private to text/.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "microtome/text/added_tokens.h"
#include "microtome/text/bpe.h"
#include "microtome/text/pretokenizer.h"
#include "microtome/text/tokenizer.h"

namespace microtome {

struct Tokenizer::Impl {
  struct Record {
    uint32_t offset = 0, length = 0;  // in `bytes`
    bool named = false, special = false;
  };

  std::string bytes;
  std::vector<Record> records;  // by id
  Bpe bpe;
  AddedTokens added, added_after_normalizer;
  std::unordered_map<std::string, int32_t> added_ids;  // by content
  PreTokenizer pre = PreTokenizer::kGpt2;
  bool add_prefix_space = false, normalize_nfc = false;

  std::optional<int> bos, eos, unk, pad;
  std::vector<int32_t> prefix, suffix;  // what the configured tokenizer puts around a text
  std::vector<int32_t> end_of_turn;
  std::string chat_template;

  std::string_view bytes_of(int id) const { return std::string_view(bytes).substr(records[id].offset, records[id].length); }
  void check_id(int id) const;

  // Cuts and encodes `text` (the whole of it); `input` as in AddedTokens::split.
  void encode_text(std::string_view text, const std::vector<InputRange>& input, bool specials, std::vector<int32_t>& ids) const;
  void encode_between_added(std::string_view text, std::vector<InputRange> input, bool specials, std::vector<int32_t>& ids) const;
  void encode_plain(std::string_view text, std::vector<int32_t>& ids) const;
};

struct TokenizerBuilder {
  // More ids than any vocabulary has: a file that claims an id beyond is refused before memory is reserved for it.
  static constexpr int32_t kMaxIds = 1 << 24;

  std::unique_ptr<Tokenizer::Impl> impl = std::make_unique<Tokenizer::Impl>();

  // Names id `id`. Throws kCorrupt if it is out of range.
  void set_record(int64_t id, std::string_view bytes, bool special);
  void add_added(AddedToken token);
  // Fills what follows from the rest (end of turn) and hands the tokenizer over. Throws kCorrupt if bos, eos, ... are no ids.
  Tokenizer finish();
};

}  // namespace microtome
