#include "microtome/text/bpe.h"

#include <gtest/gtest.h>

#include "draws.h"
#include "slow_bpe.h"

namespace microtome {
namespace {

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
