// A stream of seeded draws for tests.
#pragma once

#include <string>
#include <string_view>

#include "microtome/base/rng.h"

namespace microtome {

class Draws {
 public:
  explicit Draws(uint64_t seed) : rng_(seed, "tests/text") {}
  uint64_t below(uint64_t n) { return rng_.below(n, next_++); }
  // `length` bytes out of `alphabet`.
  std::string text(std::string_view alphabet, uint64_t length) {
    std::string out;
    for (uint64_t i = 0; i < length; ++i) out += alphabet[below(alphabet.size())];
    return out;
  }

 private:
  Philox rng_;
  uint64_t next_ = 0;
};

}  // namespace microtome
