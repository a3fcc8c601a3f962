// Progress: what the sink hears, and cancellation.
#include "microtome/base/progress.h"

#include <gtest/gtest.h>

#include <vector>

#include "microtome/base/error.h"

namespace microtome {
namespace {

TEST(Progress, reports_amounts_and_ends_each_task_once) {
  std::vector<ProgressReport> heard;
  {
    Progress progress([&](const ProgressReport& r) { heard.push_back(r); }, 0, 0);
    progress.begin("first", 10);
    progress.step(4);
    progress.begin("second", 0);
    progress.step();
    progress.step(2.5);
  }
  ASSERT_EQ(heard.size(), 5u);
  EXPECT_EQ(heard[0].task, "first");
  EXPECT_EQ(heard[0].done, 4);
  EXPECT_EQ(heard[0].total, 10);
  EXPECT_NEAR(heard[0].seconds_left, heard[0].seconds / 4 * 6, 1e-12);
  EXPECT_TRUE(heard[1].finished && heard[1].task == "first");
  EXPECT_TRUE(!heard[3].finished && heard[3].task == "second" && heard[3].done == 3.5);
  EXPECT_EQ(heard[3].seconds_left, -1);
  EXPECT_TRUE(heard[4].finished && heard[4].task == "second");
}

TEST(Progress, short_work_is_not_reported_at_all) {
  int heard = 0;
  {
    Progress progress([&](const ProgressReport&) { ++heard; }, 1000);
    progress.begin("quick", 2);
    progress.step();
    progress.end();
  }
  EXPECT_EQ(heard, 0);
}

TEST(Progress, cancelled_work_stops_at_its_next_step) {
  Progress progress;
  progress.begin("work", 2);
  progress.step();
  progress.check();
  progress.cancel();
  EXPECT_TRUE(progress.cancelled());
  for (const bool step : {false, true}) {
    try {
      step ? progress.step() : progress.check();
      ADD_FAILURE() << "went on";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kCancelled);
    }
  }
}

}  // namespace
}  // namespace microtome
