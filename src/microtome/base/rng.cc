#include "microtome/base/rng.h"

#include <cmath>
#include <numbers>

namespace microtome {

Philox::Philox(uint64_t seed, std::string_view purpose) {
  // FNV-1a separates the purposes; the seed is mixed in by the cipher itself.
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : purpose) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3ull;
  const uint64_t key = seed ^ hash;
  key_ = {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)};
}

std::array<uint32_t, 4> Philox::words(uint64_t index, uint64_t lane) const {
  std::array<uint32_t, 4> c{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), static_cast<uint32_t>(lane),
                            static_cast<uint32_t>(lane >> 32)};
  uint32_t k0 = key_[0], k1 = key_[1];
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = 0xD2511F53ull * c[0], p1 = 0xCD9E8D57ull * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1), static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1,
         static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

double Philox::uniform(uint64_t index, uint64_t lane) const {
  const auto w = words(index, lane);
  const uint64_t bits = (static_cast<uint64_t>(w[0]) << 32 | w[1]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

double Philox::normal(uint64_t index, uint64_t lane) const {
  const auto w = words(index, lane);
  const double u = (static_cast<double>((static_cast<uint64_t>(w[0]) << 32 | w[1]) >> 11) + 0.5) * 0x1p-53;
  const double v = static_cast<double>((static_cast<uint64_t>(w[2]) << 32 | w[3]) >> 11) * 0x1p-53;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

uint64_t Philox::below(uint64_t n, uint64_t index, uint64_t lane) const {
  const auto w = words(index, lane);
  const uint64_t bits = static_cast<uint64_t>(w[0]) << 32 | w[1];
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * n) >> 64);
}

}  // namespace microtome
