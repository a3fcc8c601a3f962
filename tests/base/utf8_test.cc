// UTF-8: every code point there and back, every kind of malformed byte.
#include "microtome/base/utf8.h"

#include <gtest/gtest.h>

namespace microtome {
namespace {

std::string encoded(uint32_t code) {
  std::string out;
  utf8_append(out, code);
  return out;
}

bool is_scalar(uint32_t code) { return code < 0xD800 || (code > 0xDFFF && code <= 0x10FFFF); }

TEST(Utf8, every_code_point_comes_back) {
  for (uint32_t code = 0; code <= 0x10FFFF; ++code) {
    const std::string bytes = encoded(code);
    const size_t n = utf8_length(bytes);
    ASSERT_EQ(n, is_scalar(code) ? bytes.size() : 0) << std::hex << code;
    if (n > 0) {
      ASSERT_EQ(utf8_decode(bytes, n), code);
    }
  }
}

TEST(Utf8, exactly_the_good_two_byte_sequences_are_accepted) {
  int good = 0;
  for (int a = 0x80; a < 256; ++a)
    for (int b = 0; b < 256; ++b) good += utf8_length(std::string{static_cast<char>(a), static_cast<char>(b)}) == 2;
  EXPECT_EQ(good, 0x800 - 0x80);
}

TEST(Utf8, overlong_surrogate_and_too_large_forms_are_refused) {
  for (const char* bad : {"\xC0\xAF", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF",
                          "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\x80", "\xFF", "\xE2\x82", "\xE2(\xA1"}) {
    EXPECT_EQ(utf8_length(bad), 0u) << testing::PrintToString(std::string(bad));
    EXPECT_FALSE(utf8_valid(std::string("ok") + bad));
  }
  EXPECT_EQ(utf8_length(""), 0u);
  EXPECT_TRUE(utf8_valid(""));
}

TEST(Utf8, a_tail_is_incomplete_only_while_it_can_still_become_a_character) {
  for (const char* text : {"é", "€", "\uD7FF", "\uE000", "\U00010000", "\U0010FFFF"}) {
    const std::string whole = text;
    for (size_t n = 0; n <= whole.size(); ++n)
      EXPECT_EQ(utf8_is_incomplete(std::string_view(whole).substr(0, n)), n > 0 && n < whole.size()) << text << " " << n;
  }
  for (const char* dead : {"a", "\x80", "\xC0", "\xE0\x80", "\xED\xA0", "\xF4\x90", "\xF8", "\xE2\x28"})
    EXPECT_FALSE(utf8_is_incomplete(dead)) << testing::PrintToString(std::string(dead));
}

// As in the Unicode standard, section 3.9, table 3-8 and its neighbours.
TEST(Utf8, lossy_text_has_one_replacement_per_maximal_part_of_a_character) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(utf8_lossy("aé€"), "aé€");
  EXPECT_EQ(utf8_lossy("\xE2\x82"
                       "A"),
            r + "A");
  EXPECT_EQ(utf8_lossy("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                       "A"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(utf8_lossy("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(utf8_lossy("\xF4\x91\x92\x93\xFF"
                       "A\x80\xBF"
                       "B"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(utf8_lossy("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                       "A"),
            r + r + r + r + "A");
}

TEST(Utf8, hex_form_names_each_bad_byte) { EXPECT_EQ(utf8_or_hex("a\xE2\x82é\xFF"), "a<0xE2><0x82>é<0xFF>"); }

}  // namespace
}  // namespace microtome
