#include <bit>
#include <ostream>
#include <type_traits>
#include <unordered_set>

#include "microtome/base/error.h"
#include "microtome/base/file.h"
#include "microtome/formats/ggml_types.h"
#include "microtome/formats/gguf.h"

namespace microtome {
namespace {

using Type = Metadata::Type;

template <class T>
constexpr Type type_of() {
  if constexpr (std::is_same_v<T, bool>) return Type::kBool;
  else if constexpr (std::is_same_v<T, float>) return Type::kF32;
  else if constexpr (std::is_same_v<T, double>) return Type::kF64;
  else if constexpr (std::is_same_v<T, std::string>) return Type::kString;
  else if constexpr (sizeof(T) == 1) return std::is_signed_v<T> ? Type::kI8 : Type::kU8;
  else if constexpr (sizeof(T) == 2) return std::is_signed_v<T> ? Type::kI16 : Type::kU16;
  else if constexpr (sizeof(T) == 4) return std::is_signed_v<T> ? Type::kI32 : Type::kU32;
  else return std::is_signed_v<T> ? Type::kI64 : Type::kU64;
}

// The header, gathered in memory.
class HeaderBuilder {
 public:
  template <class T>
  void put(const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
      put<uint64_t>(value.size());
      text += value;
    } else {
      static_assert(std::is_arithmetic_v<T>);
      text.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }

  template <class T>
  void put_value(const T& value) {
    put(static_cast<uint32_t>(type_of<T>()));
    put(value);
  }

  template <class T>
  void put_value(const std::vector<T>& values) {
    put(static_cast<uint32_t>(Type::kArray));
    put(static_cast<uint32_t>(type_of<T>()));
    put<uint64_t>(values.size());
    for (const T& value : values) put(value);
  }

  std::string text;
};

void check_tensor(const CheckpointTensor& t) {
  const std::string name = printable(t.name);
  if (!ggml_type_of_dtype(t.dtype)) {
    throw Error(ErrorKind::kUnsupported, "gguf has no {}: tensor \"{}\" cannot be written", dtype_name(t.dtype), name);
  }
  if (t.name.size() > 64 || t.shape.size() > 4 || tensor_bytes(t.dtype, t.shape) != t.data.size()) {
    throw Error(ErrorKind::kInvalidArgument,
                "tensor \"{}\", {} of shape {} with {} bytes: a name over 64 bytes, more than 4 dimensions, or not its size",
                name, dtype_name(t.dtype), shape_text(t.shape), t.data.size());
  }
}

uint64_t padded(uint64_t size, uint64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

}  // namespace

void write_gguf(const std::filesystem::path& path, std::span<const CheckpointTensor> tensors,
                std::span<const std::pair<std::string, GgufValue>> metadata, uint32_t alignment) {
  if (!std::has_single_bit(alignment)) {
    throw Error(ErrorKind::kInvalidArgument, "gguf alignment {}: expected a power of two", alignment);
  }
  const bool states_alignment = alignment != 32;
  HeaderBuilder header;
  header.text = "GGUF";
  header.put<uint32_t>(3);
  header.put<uint64_t>(tensors.size());
  header.put<uint64_t>(metadata.size() + states_alignment);
  std::unordered_set<std::string_view> names;
  for (const auto& [key, value] : metadata) {
    if (!names.insert(key).second || key == "general.alignment") {
      throw Error(ErrorKind::kInvalidArgument, "gguf key \"{}\" given twice", printable(key));
    }
    header.put(key);
    std::visit([&](const auto& v) { header.put_value(v); }, value);
  }
  if (states_alignment) {
    header.put(std::string("general.alignment"));
    header.put_value(alignment);
  }
  names.clear();
  uint64_t offset = 0;
  for (const CheckpointTensor& t : tensors) {
    check_tensor(t);
    if (!names.insert(t.name).second) throw Error(ErrorKind::kInvalidArgument, "tensor \"{}\" given twice", printable(t.name));
    header.put(t.name);
    header.put(static_cast<uint32_t>(t.shape.size()));
    for (auto size = t.shape.rbegin(); size != t.shape.rend(); ++size) header.put(static_cast<uint64_t>(*size));
    header.put(*ggml_type_of_dtype(t.dtype));
    header.put(offset);
    offset = padded(offset + t.data.size(), alignment);
  }
  header.text.resize(padded(header.text.size(), alignment), '\0');
  write_atomically(path, [&](std::ostream& out) {
    out << header.text;
    for (const CheckpointTensor& t : tensors) {
      out.write(reinterpret_cast<const char*>(t.data.data()), static_cast<std::streamsize>(t.data.size()));
      const std::string zeros(padded(t.data.size(), alignment) - t.data.size(), '\0');
      out << zeros;
    }
  });
}

}  // namespace microtome
