// Added tokens: texts that are one token wherever they stand, found before anything else is cut.
//
//   AddedTokens added;
//   added.add({.id = 2, .content = "<|im_end|>", .special = true});
//   for (const auto& part : added.split(text, {}, options)) ...   // tokens, and the text between them
//
// Leftmost match first, of those the longest, among the tokens that are allowed there. Thread-safe once filled.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace microtome {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;      // a control token: not recognised in what a user typed
  bool normalized = false;   // looked for after the normalizer instead of before
  bool single_word = false;  // only where no letter, digit or underscore touches it
  bool lstrip = false;       // swallows the white space before it
  bool rstrip = false;       // ... and after it
};

// Bytes [begin, end) that a user typed.
struct InputRange {
  size_t begin, end;
};

class AddedTokens {
 public:
  struct Part {
    int32_t id;  // -1: text
    size_t begin, end;
  };

  void add(AddedToken token);
  bool empty() const { return tokens_.empty(); }

  // Parts in order, without gaps, none of them empty. `input`: ascending, disjoint; no special token may touch one.
  // Special tokens are left alone altogether unless `specials`.
  std::vector<Part> split(std::string_view text, const std::vector<InputRange>& input, bool specials) const;

 private:
  // Index of the longest allowed token at `pos`, or -1.
  int match(std::string_view text, size_t pos, const std::vector<InputRange>& input, bool specials) const;

  std::vector<AddedToken> tokens_;
  // A trie: (node, byte) -> node, and the token that ends at a node. Node 0 is the root.
  std::unordered_map<uint64_t, uint32_t> children_;
  std::vector<int> token_at_ = {-1};
  bool starts_[256] = {};
};

// True if no range of `input` overlaps [begin, end).
bool is_free_of_input(const std::vector<InputRange>& input, size_t begin, size_t end);

}  // namespace microtome
