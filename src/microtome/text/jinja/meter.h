// What a running template has used up, and where it is: limits and errors for everything that evaluates.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "microtome/base/error.h"

namespace microtome::jinja {

struct Meter {
  int64_t steps = 0, bytes = 0;  // left
  int line = 0;
  int64_t now = 0;

  [[noreturn]] void invalid(std::string_view what) const {
    throw Error(ErrorKind::kInvalidArgument, "chat template, line {}: {}", line, what);
  }
  [[noreturn]] void unsupported(std::string_view what) const {
    throw Error(ErrorKind::kUnsupported, "chat template, line {}: {} is not supported", line, what);
  }
  // `bytes`: how much text it looks through.
  void step(size_t bytes = 0) {
    steps -= 1 + static_cast<int64_t>(bytes / 64);
    if (steps < 0) throw Error(ErrorKind::kUnsupported, "chat template, line {}: runs too long; stopped", line);
  }
  // Call before making a text or list of about this size.
  void charge(uint64_t n) {
    if (n > static_cast<uint64_t>(bytes))
      throw Error(ErrorKind::kUnsupported, "chat template, line {}: uses too much memory; stopped", line);
    bytes -= static_cast<int64_t>(n);
  }
};

}  // namespace microtome::jinja
