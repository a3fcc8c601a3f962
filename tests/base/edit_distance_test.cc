#include "microtome/base/edit_distance.h"

#include <gtest/gtest.h>

#include <vector>

namespace microtome {
namespace {

TEST(EditDistance, counts_what_must_change) {
  EXPECT_EQ(edit_distance("", ""), 0u);
  EXPECT_EQ(edit_distance("abc", ""), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("iio", "ioi"), 1u);
  EXPECT_EQ(edit_distance("abcd", "badc"), 2u);
  EXPECT_EQ(edit_distance("ca", "abc"), 3u);  // no letter is moved twice
}

TEST(DidYouMean, names_the_nearest_or_nothing) {
  const std::vector<std::string> names{"ioi", "induction", "docstring"};
  EXPECT_EQ(did_you_mean("iio", names), ", did you mean \"ioi\"?");
  EXPECT_EQ(did_you_mean("induc", names), ", did you mean \"induction\"?");
  EXPECT_EQ(did_you_mean("weather", names), "");
}

}  // namespace
}  // namespace microtome
