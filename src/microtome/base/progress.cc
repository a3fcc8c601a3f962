#include "microtome/base/progress.h"

#include "microtome/base/error.h"

namespace microtome {

void Progress::begin(std::string task, double total) {
  end();
  task_ = std::move(task);
  total_ = total;
  done_ = 0;
  last_report_s_ = -1;
  start_ = std::chrono::steady_clock::now();
}

void Progress::step(double amount) {
  check();
  done_ += amount;
  if (!sink_) return;
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double due = last_report_s_ < 0 ? first_after_s_ : last_report_s_ + every_s_;
  if (now >= due) report(false);
}

void Progress::end() {
  if (sink_ && last_report_s_ >= 0) report(true);
  last_report_s_ = -1;
}

void Progress::check() const {
  if (cancelled_) throw Error(ErrorKind::kCancelled, "interrupted");
}

void Progress::report(bool finished) {
  const double now = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  last_report_s_ = now;
  const double left = total_ > 0 && done_ > 0 ? now / done_ * (total_ - done_) : -1;
  sink_({task_, done_, total_, now, left, finished});
}

}  // namespace microtome
