#include "microtome/cli/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <memory>

#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr double kSparse = 15;  // seconds between lines where nobody watches them change

std::string duration(double seconds) {
  const auto s = static_cast<int64_t>(std::ceil(seconds));
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", (s + 59) / 60);
  return fmt::format("{} h {} min", s / 3600, s / 60 % 60);
}

// Bytes are told from other things by their size: nothing else is counted in tens of millions.
std::string amount(double n) {
  if (n >= 1e7) return fmt::format("{:.1f} MB", n / 1e6);
  return fmt::format("{:.0f}", n);
}

}  // namespace

std::string progress_text(const ProgressReport& r) {
  std::string text = fmt::format("{}: {}", r.task, amount(r.done));
  if (r.total > 0) text += fmt::format(" of {}, {:.0f} %", amount(r.total), std::min(100.0, 100 * r.done / r.total));
  const double rate = r.seconds > 0 ? r.done / r.seconds : 0;
  if (rate >= 1e5) text += fmt::format(", {:.1f} MB/s", rate / 1e6);
  else if (rate > 0 && rate < 1) text += fmt::format(", {:.3g} s each", 1 / rate);
  else if (rate > 0) text += fmt::format(", {:.3g} per second", rate);
  if (!r.finished && r.seconds_left >= 0) text += fmt::format(", {} left", duration(r.seconds_left));
  if (r.finished) text += fmt::format(", {} in all", duration(r.seconds));
  return text;
}

Progress::Sink progress_line(bool quiet) {
  if (quiet) return {};
  const bool terminal = ::isatty(STDERR_FILENO);
  auto last = std::make_shared<double>(0.0);
  return [terminal, last](const ProgressReport& report) {
    if (terminal) {
      const std::string text = fit(progress_text(report), terminal_columns() - 1);
      // The line goes away when the work is done: what follows begins on a clean one.
      if (report.finished) std::fputs("\r\x1b[K", stderr);
      else std::fprintf(stderr, "\r\x1b[K%s", text.c_str());
    } else if (!report.finished && report.seconds - *last >= kSparse) {
      *last = report.seconds;
      std::fprintf(stderr, "%s\n", progress_text(report).c_str());
    }
    if (report.finished) *last = 0;
    std::fflush(stderr);
  };
}

}  // namespace microtome::cli
