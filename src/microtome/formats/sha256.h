// SHA-256 (Nettle), piece by piece.
//
//   Sha256 hash;  hash.update(bytes);  hash.hex();        // "b179c952…", 64 digits
//   sha256_file("model.gguf", &progress);
//
// One object belongs to one thread.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "microtome/base/progress.h"

namespace microtome {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::span<const std::byte> bytes);
  // Of all bytes so far, in lower case; begins anew.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Throws kNotFound, kIo, kInvalidArgument (no regular file), kCancelled.
std::string sha256_file(const std::filesystem::path& path, Progress* progress = nullptr);

}  // namespace microtome
