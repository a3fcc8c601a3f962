// What every fuzz target does: hand the bytes to a reader that may refuse them, but only with an Error.
//
//   FUZZ_READER(bytes) { read_gguf(bytes, "fuzz"); }
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "microtome/base/error.h"

namespace microtome {

// Runs `read`; an Error must be one line, anything else ends the program.
template <class Read>
void allow_refusal(Read read) {
  try {
    read();
  } catch (const Error& e) {
    MT_CHECK(std::string(e.what()).find('\n') == std::string::npos);
  }
}

// Looks at every byte, so that a span past its memory is found.
inline uint64_t touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum = sum * 31 + static_cast<uint64_t>(b);
  static volatile uint64_t kept;
  kept = sum;
  return kept;
}

}  // namespace microtome

#define FUZZ_READER(bytes)                                                                            \
  static void fuzz_reader(std::span<const std::byte> bytes);                                          \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {                           \
    microtome::allow_refusal([&] { fuzz_reader({reinterpret_cast<const std::byte*>(data), size}); }); \
    return 0;                                                                                         \
  }                                                                                                   \
  static void fuzz_reader(std::span<const std::byte> bytes)
