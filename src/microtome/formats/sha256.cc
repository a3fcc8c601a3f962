#include "microtome/formats/sha256.h"

#include <nettle/sha2.h>

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/base/mapped_file.h"

namespace microtome {

struct Sha256::State {
  sha256_ctx context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) { ::sha256_init(&state_->context); }
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(std::span<const std::byte> bytes) {
  ::sha256_update(&state_->context, bytes.size(), reinterpret_cast<const uint8_t*>(bytes.data()));
}

std::string Sha256::hex() {
  uint8_t digest[SHA256_DIGEST_SIZE];
  ::sha256_digest(&state_->context, sizeof digest, digest);
  std::string text;
  for (const uint8_t byte : digest) text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_file(const std::filesystem::path& path, Progress* progress) {
  constexpr size_t kPiece = 4 << 20;
  const MappedFile file(path);
  const auto bytes = file.bytes();
  if (progress != nullptr) progress->begin("sha256", static_cast<double>(bytes.size()));
  Sha256 hash;
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    const size_t size = std::min(kPiece, bytes.size() - at);
    hash.update(bytes.subspan(at, size));
    file.release(at, size);
    if (progress != nullptr) progress->step(static_cast<double>(size));
  }
  if (progress != nullptr) progress->end();
  return hash.hex();
}

}  // namespace microtome
