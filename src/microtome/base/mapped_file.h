// A file mapped into memory, read-only.
//
//   MappedFile file("model.gguf");
//   use(file.bytes().subspan(off, n));
//   file.release(off, n);     // its pages need not stay resident; they come back when read again
//
// Throws kNotFound (no such file), kIo (cannot be opened or mapped), kInvalidArgument (a folder or a device).
// Any number of threads may read.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace microtome {

class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }
  void release(size_t offset, size_t size) const;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace microtome
