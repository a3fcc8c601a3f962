#include "microtome/text/pretokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "draws.h"
#include "microtome/text/unicode_class.h"

namespace microtome {
namespace {

std::string cut(PreTokenizer kind, std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = next_piece(kind, text, at);
    if (at > 0) out += '|';
    out += text.substr(at, end - at);
    at = end;
  }
  return out;
}

TEST(PreTokenizer, cuts_the_specifications_examples) {
  const char* text = "It's 2024,  ok?\n\n  x";
  EXPECT_EQ(cut(PreTokenizer::kGpt2, text), "It|'s| 2024|,| | ok|?|\n\n | x");
  EXPECT_EQ(cut(PreTokenizer::kDigitsGpt2, text), "It|'s| |2|0|2|4|,| | ok|?|\n\n | x");
  EXPECT_EQ(cut(PreTokenizer::kLlama3, text), "It|'s| |202|4|,| | ok|?\n\n| | x");
  EXPECT_EQ(cut(PreTokenizer::kQwen2, text), "It|'s| |2|0|2|4|,| | ok|?\n\n| | x");
  EXPECT_EQ(cut(PreTokenizer::kGpt2, "I'LL pay $12345!!"), "I|'|LL| pay| $|12345|!!");
}

TEST(PreTokenizer, contractions_ignore_case_only_where_the_pattern_says_so) {
  EXPECT_EQ(cut(PreTokenizer::kLlama3, "I'LL he'S"), "I|'LL| he|'S");
  EXPECT_EQ(cut(PreTokenizer::kGpt2, "he'S"), "he|'|S");
  EXPECT_EQ(cut(PreTokenizer::kLlama3, "x'\u017Fy"), "x|'\u017F|y");  // long s folds to s
  EXPECT_EQ(cut(PreTokenizer::kGpt2, "x'\u017Fy"), "x|'|\u017Fy");
}

TEST(PreTokenizer, white_space_before_a_number_stays_whole_when_numbers_are_cut_out) {
  EXPECT_EQ(cut(PreTokenizer::kDigitsGpt2, "a   1"), "a|   |1");
  EXPECT_EQ(cut(PreTokenizer::kGpt2, "a   1"), "a|  | 1");
  EXPECT_EQ(cut(PreTokenizer::kDigitsGpt2, "a   b"), "a|  | b");
}

TEST(PreTokenizer, llama3_keeps_newlines_with_what_precedes_them) {
  EXPECT_EQ(cut(PreTokenizer::kLlama3, "end.\r\n\r\n  \n next"), "end|.\r\n\r\n|  \n| next");
  EXPECT_EQ(cut(PreTokenizer::kLlama3, "\tword \n"), "\tword| \n");
}

TEST(PreTokenizer, bytes_that_are_not_utf8_are_neither_letter_nor_number_nor_space) {
  EXPECT_EQ(cut(PreTokenizer::kGpt2, "a\xff\x85\xc3 b"), "a|\xff\x85\xc3| b");
  EXPECT_EQ(char_at("\xa0", 0).kind, CharClass::kOther);
  EXPECT_EQ(char_at("\xc2\xa0", 0).kind, CharClass::kSpace);
}

TEST(PreTokenizer, knows_letters_newer_than_the_librarys_tables) {
  EXPECT_EQ(char_class(0x2EBF0), CharClass::kLetter);
  EXPECT_EQ(char_class(0x13460), CharClass::kLetter);
  EXPECT_EQ(char_class(0x1CCF9), CharClass::kNumber);
  EXPECT_EQ(char_class(0x2EE5E), CharClass::kOther);
}

TEST(PreTokenizer, pieces_of_any_bytes_join_to_the_text_and_are_never_empty) {
  const PreTokenizer kinds[] = {PreTokenizer::kGpt2,  PreTokenizer::kDigitsGpt2, PreTokenizer::kLlama3,
                                PreTokenizer::kQwen2, PreTokenizer::kDigits,     PreTokenizer::kWhole};
  const std::string_view alphabet = " \n\r\t'slL09a\xc3\xa9\xe3\x80\x80\xf0\x9f\x98\x80.\xff";
  Draws draws(11);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = draws.text(alphabet, 1 + draws.below(24));
    for (const PreTokenizer kind : kinds) {
      for (size_t at = 0; at < text.size();) {
        const size_t end = next_piece(kind, text, at);
        ASSERT_GT(end, at);
        ASSERT_LE(end, text.size());
        at = end;
      }
    }
  }
}

}  // namespace
}  // namespace microtome
