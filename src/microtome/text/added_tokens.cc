#include "microtome/text/added_tokens.h"

#include <utf8proc.h>

#include <algorithm>

#include "microtome/base/utf8.h"
#include "microtome/text/unicode_class.h"

namespace microtome {
namespace {

// \w of the reference (Unicode technical standard 18): letters, marks, decimal digits, connectors.
bool is_word(const CharAt& c, std::string_view text, size_t pos) {
  if (c.length == 0 || utf8_length(text.substr(pos)) == 0) return false;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c.code))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return c.kind == CharClass::kLetter || c.code == 0x200C || c.code == 0x200D;
  }
}

// Start of the character that ends at byte `end`.
size_t start_of_last(std::string_view text, size_t end) {
  for (size_t n = 1; n <= 4 && n <= end; ++n) {
    if (utf8_length(text.substr(end - n, n)) == n) return end - n;
  }
  return end - 1;
}

bool ends_with_word(std::string_view text, size_t end) {
  if (end == 0) return false;
  const size_t at = start_of_last(text, end);
  return is_word(char_at(text, at), text, at);
}

}  // namespace

bool is_free_of_input(const std::vector<InputRange>& input, size_t begin, size_t end) {
  const auto after = std::lower_bound(input.begin(), input.end(), end, [](const InputRange& r, size_t e) { return r.begin < e; });
  return after == input.begin() || std::prev(after)->end <= begin;
}

void AddedTokens::add(AddedToken token) {
  if (token.content.empty()) return;
  uint32_t node = 0;
  for (const char c : token.content) {
    const auto [child, is_new] = children_.try_emplace(uint64_t{node} << 8 | static_cast<uint8_t>(c), token_at_.size());
    if (is_new) token_at_.push_back(-1);
    node = child->second;
  }
  starts_[static_cast<uint8_t>(token.content[0])] = true;
  if (token_at_[node] >= 0) return;
  token_at_[node] = static_cast<int>(tokens_.size());
  tokens_.push_back(std::move(token));
}

int AddedTokens::match(std::string_view text, size_t pos, const std::vector<InputRange>& input, bool specials) const {
  int longest = -1;
  uint32_t node = 0;
  for (size_t i = pos; i < text.size(); ++i) {
    const auto child = children_.find(uint64_t{node} << 8 | static_cast<uint8_t>(text[i]));
    if (child == children_.end()) break;
    node = child->second;
    if (token_at_[node] < 0) continue;
    const AddedToken& token = tokens_[token_at_[node]];
    if (token.special && (!specials || !is_free_of_input(input, pos, i + 1))) continue;
    longest = token_at_[node];
  }
  return longest;
}

std::vector<AddedTokens::Part> AddedTokens::split(std::string_view text, const std::vector<InputRange>& input,
                                                  bool specials) const {
  std::vector<Part> parts;
  size_t done = 0;
  const auto add = [&](int32_t id, size_t begin, size_t end) {
    if (end > begin) parts.push_back({id, begin, end});
  };
  for (size_t pos = 0; pos < text.size();) {
    const int found = starts_[static_cast<uint8_t>(text[pos])] ? match(text, pos, input, specials) : -1;
    if (found < 0) {
      ++pos;
      continue;
    }
    const AddedToken& token = tokens_[found];
    size_t begin = pos, end = pos + token.content.size();
    if (token.single_word && (ends_with_word(text, begin) || is_word(char_at(text, end), text, end))) {
      pos = end;
      continue;
    }
    while (token.lstrip && begin > done) {
      const size_t at = start_of_last(text, begin);
      if (at < done || char_at(text, at).kind != CharClass::kSpace) break;
      begin = at;
    }
    while (token.rstrip && char_at(text, end).kind == CharClass::kSpace) end += char_at(text, end).length;
    add(-1, done, begin);
    add(token.id, begin, end);
    pos = done = end;
  }
  add(-1, done, text.size());
  return parts;
}

}  // namespace microtome
