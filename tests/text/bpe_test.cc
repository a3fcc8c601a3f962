#include "microtome/text/bpe.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>

#include "draws.h"

namespace microtome {
namespace {

// The definition: merge the leftmost pair of the best rank until none is left.
struct SlowBpe {
  std::map<std::string, int32_t> ids;
  std::map<std::pair<std::string, std::string>, int> ranks;

  std::vector<int32_t> encode(const std::string& piece) const {
    std::vector<std::string> symbols;
    for (const char c : piece) {
      if (ids.count(std::string(1, c))) symbols.emplace_back(1, c);
    }
    while (true) {
      std::optional<std::pair<int, size_t>> best;
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto found = ranks.find({symbols[i], symbols[i + 1]});
        if (found != ranks.end() && (!best || found->second < best->first)) best = {found->second, i};
      }
      if (!best) break;
      symbols[best->second] += symbols[best->second + 1];
      symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best->second) + 1);
    }
    std::vector<int32_t> out;
    for (const std::string& s : symbols) out.push_back(ids.at(s));
    return out;
  }
};

// Random merges of tokens that exist, as training would make them; some tokens have no merge that leads to them.
void make_random(Draws& draws, std::string_view alphabet, int n_merges, SlowBpe& slow, Bpe& fast) {
  std::vector<std::string> tokens;
  const auto add = [&](const std::string& token) {
    if (!slow.ids.emplace(token, static_cast<int32_t>(tokens.size())).second) return;
    fast.add_token(static_cast<int32_t>(tokens.size()), token);
    tokens.push_back(token);
  };
  for (const char c : alphabet) add(std::string(1, c));
  for (int rank = 0; rank < n_merges; ++rank) {
    const std::string left = tokens[draws.below(tokens.size())], right = tokens[draws.below(tokens.size())];
    if (left.size() + right.size() > 12 || slow.ranks.count({left, right})) continue;
    add(left + right);
    if (draws.below(8) == 0) continue;
    EXPECT_TRUE(fast.add_merge(left, right));
    slow.ranks[{left, right}] = rank;
  }
  fast.finish();
}

TEST(Bpe, equals_the_slow_definition_on_pieces_of_every_length) {
  Draws draws(3);
  for (int round = 0; round < 40; ++round) {
    SlowBpe slow;
    Bpe fast;
    make_random(draws, "ab\xff d", 5 + static_cast<int>(draws.below(60)), slow, fast);
    for (int i = 0; i < 100; ++i) {
      const std::string piece = draws.text("ab\xff dZ", 1 + draws.below(i % 4 ? 40 : 200));
      const std::vector<int32_t> expected = slow.encode(piece);
      for (int again = 0; again < 2; ++again) {  // the second time, what was found the first time is used
        std::vector<int32_t> ids;
        fast.encode_piece(piece, ids);
        ASSERT_EQ(ids, expected);
      }
    }
  }
}

TEST(Bpe, leaves_out_bytes_without_a_token_unless_told_what_they_are) {
  Bpe bpe;
  bpe.add_token(0, "a");
  bpe.add_token(1, "aa");
  ASSERT_TRUE(bpe.add_merge("a", "a"));
  bpe.finish();
  std::vector<int32_t> ids;
  bpe.encode_piece("aZa", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{1}));  // as the reference: the neighbours meet
  bpe.set_byte('Z', 7);
  ids.clear();
  bpe.encode_piece("aZa", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 7, 0}));
}

TEST(Bpe, refuses_a_merge_of_tokens_that_do_not_exist) {
  Bpe bpe;
  bpe.add_token(0, "a");
  bpe.add_token(1, "b");
  EXPECT_FALSE(bpe.add_merge("a", "b"));
  EXPECT_FALSE(bpe.add_merge("a", "c"));
}

TEST(Bpe, a_pair_given_twice_takes_its_last_rank) {
  Bpe bpe;
  for (int id = 0; id < 3; ++id) bpe.add_token(id, std::string(1, static_cast<char>('a' + id)));
  bpe.add_token(3, "ab");
  bpe.add_token(4, "bc");
  ASSERT_TRUE(bpe.add_merge("a", "b"));
  ASSERT_TRUE(bpe.add_merge("b", "c"));
  ASSERT_TRUE(bpe.add_merge("a", "b"));
  bpe.finish();
  std::vector<int32_t> ids;
  bpe.encode_piece("abc", ids);
  EXPECT_EQ(ids, (std::vector<int32_t>{0, 4}));
}

}  // namespace
}  // namespace microtome
