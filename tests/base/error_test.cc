// Errors, and untrusted text made fit for their messages.
#include "microtome/base/error.h"

#include <gtest/gtest.h>

#include "microtome/base/utf8.h"

namespace microtome {
namespace {

TEST(Error, formats_its_message_and_leaves_braces_of_plain_text_alone) {
  EXPECT_STREQ(Error(ErrorKind::kCorrupt, "byte {}", 7).what(), "byte 7");
  EXPECT_STREQ(Error(ErrorKind::kCorrupt, std::string("name {} of a file")).what(), "name {} of a file");
}

TEST(Error, exit_code_tells_wrong_use_from_failure_from_interrupt) {
  for (const ErrorKind kind : {ErrorKind::kInvalidArgument, ErrorKind::kNotFound, ErrorKind::kCorrupt, ErrorKind::kUnsupported})
    EXPECT_EQ(Error(kind, std::string()).exit_code(), 2) << to_string(kind);
  EXPECT_EQ(Error(ErrorKind::kIo, std::string()).exit_code(), 1);
  EXPECT_EQ(Error(ErrorKind::kCancelled, std::string()).exit_code(), 130);
}

TEST(Printable, escapes_control_characters_and_bytes_that_are_not_utf8) {
  EXPECT_EQ(printable("a\nb\x1b[2J\x7f"), "a\\nb\\x1b[2J\\x7f");
  EXPECT_EQ(printable(std::string_view("\0\t", 2)), "\\x00\\x09");
  EXPECT_EQ(printable("\xff\xe2\x82"), "\\xff\\xe2\\x82");
  EXPECT_EQ(printable("é€😀"), "é€😀");
}

TEST(Printable, escapes_the_control_characters_above_ascii_that_terminals_obey) {
  EXPECT_EQ(printable("\u009b2J"), "\\u009b2J");
  EXPECT_EQ(printable("\u0080\u009f\u00a0"), "\\u0080\\u009f\u00a0");
}

TEST(Printable, never_grows_beyond_its_limit_nor_splits_a_character) {
  EXPECT_EQ(printable("abcd", 4), "abcd");
  EXPECT_EQ(printable("abcde", 4), "abcd…");
  EXPECT_EQ(printable("abc€", 4), "abc…");
  EXPECT_EQ(printable("abc\x01", 4), "abc…");
  for (size_t limit = 0; limit < 20; ++limit) EXPECT_TRUE(utf8_valid(printable("é😀\xff€\nabc", limit))) << limit;
}

TEST(ErrorDeathTest, failed_checks_print_both_values) {
  EXPECT_DEATH(MT_CHECK_EQ(1 + 1, 3), "check failed: 1 \\+ 1 == 3 \\(2 against 3\\)");
  EXPECT_DEATH(MT_CHECK(false), "check failed: false");
}

}  // namespace
}  // namespace microtome
