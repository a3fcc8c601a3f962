// Little-endian numbers and runs of bytes out of an untrusted file: every read is checked against the end.
//
//   ByteCursor in(file.bytes(), "model.gguf");
//   const uint32_t version = in.number<uint32_t>("the version");
//
// Throws kCorrupt, saying what was being read and at which byte. A cursor belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "microtome/base/error.h"

namespace microtome {

inline std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::span<const std::byte> as_byte_span(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// False if a*b does not fit.
inline bool multiply_fits(uint64_t a, uint64_t b, uint64_t* product) { return !__builtin_mul_overflow(a, b, product); }

// `p` need not be aligned.
template <class T>
T load_little_endian(const std::byte* p) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

class ByteCursor {
 public:
  // `where` begins every message: the file's name.
  ByteCursor(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }
  const std::string& where() const { return where_; }

  std::span<const std::byte> bytes(uint64_t count, std::string_view what) {
    if (count > remaining()) {
      throw Error(ErrorKind::kCorrupt, "{}: {} takes {} bytes at byte {}, the file has {} left; the download may be cut short",
                  where_, what, count, position_, remaining());
    }
    const auto result = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return result;
  }

  template <class T>
  T number(std::string_view what) {
    return load_little_endian<T>(bytes(sizeof(T), what).data());
  }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
  size_t position_ = 0;
};

}  // namespace microtome
