// How long work shows: on a terminal one line that updates itself, with rate and time left; elsewhere a line now and then.
#pragma once

#include "microtome/base/progress.h"

namespace microtome::cli {

// A sink that writes to standard error; empty if `quiet`.
Progress::Sink progress_line(bool quiet);

// "prefill: 120 of 512, 23 %, 41.2 per second, 10 s left"
std::string progress_text(const ProgressReport& report);

}  // namespace microtome::cli
