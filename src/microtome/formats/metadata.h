// Key/value pairs of a checkpoint file (GGUF's, or the strings in a safetensors header), as a typed view: nothing is copied
// until asked for, so a vocabulary of a million tokens costs its file pages only.
//
//   const uint64_t layers = meta.u64("llama.block_count").value_or(0);
//   if (auto tokens = meta.strings("tokenizer.ggml.tokens")) use(*tokens);
//
// Every getter: nothing if the key is absent; Error(kCorrupt) if the key holds another type or a number out of range.
// The views live as long as the checkpoint. Any number of threads may read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace microtome {

class Metadata {
 public:
  // GGUF's numbers for them.
  enum class Type : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
  static constexpr uint32_t kTypes = 13;

  struct Entry {
    std::string_view key;
    Type type;
    Type element;                      // of an array
    uint64_t count = 1;                // of an array's elements
    std::span<const std::byte> bytes;  // scalars and array elements as in the file; a string without its length
  };

  Metadata() = default;
  explicit Metadata(std::string where) : where_(std::move(where)) {}

  // In the file's order.
  std::span<const Entry> entries() const { return entries_; }
  const Entry* find(std::string_view key) const;

  // Integers of any width, if the value fits.
  std::optional<uint64_t> u64(std::string_view key) const;
  std::optional<int64_t> i64(std::string_view key) const;
  // Any number.
  std::optional<double> f64(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  // Bytes; usually, but not certainly, UTF-8.
  std::optional<std::string_view> string(std::string_view key) const;

  std::optional<std::vector<std::string_view>> strings(std::string_view key) const;
  // Arrays of integers of any width (or bool), if all values fit.
  std::optional<std::vector<int32_t>> i32s(std::string_view key) const;
  // Arrays of any numbers.
  std::optional<std::vector<float>> f32s(std::string_view key) const;

  // For readers. False if the key is there already.
  bool add(const Entry& entry);

 private:
  std::string where_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, size_t> index_;
};

const char* to_string(Metadata::Type type);

// Bytes of one value; 0 for strings and arrays, whose length varies.
size_t fixed_size(Metadata::Type type);

}  // namespace microtome
