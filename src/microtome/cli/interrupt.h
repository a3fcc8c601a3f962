// Ctrl-C: while a guard lives, the first SIGINT (or SIGTERM) cancels its progress, so that work ends tidily; a second one, or
// one without a guard, ends the program at once with status 130.
#pragma once

#include "microtome/base/progress.h"

namespace microtome::cli {

void install_interrupt_handlers();

class InterruptGuard {
 public:
  // One at a time; `progress` outlives it.
  explicit InterruptGuard(Progress& progress);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;
};

}  // namespace microtome::cli
