// Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
//   Philox rng(seed, "init");        // a stream of its own for each purpose
//   float u = rng.uniform(index);    // any index, in any order, on any thread: same value
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace microtome {

class Philox {
 public:
  Philox(uint64_t seed, std::string_view purpose);

  // Four 32-bit words for one counter.
  std::array<uint32_t, 4> words(uint64_t index, uint64_t lane = 0) const;

  // In [0, 1): 53 random bits.
  double uniform(uint64_t index, uint64_t lane = 0) const;

  // Standard normal (Box-Muller).
  double normal(uint64_t index, uint64_t lane = 0) const;

  // In [0, n), n > 0 (multiply-shift on 64 bits; bias below 2^-32 for n < 2^32).
  uint64_t below(uint64_t n, uint64_t index, uint64_t lane = 0) const;

 private:
  std::array<uint32_t, 2> key_;
};

}  // namespace microtome
