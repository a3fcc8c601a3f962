// PyTorch's .pt files, as far as published lenses need them: dicts, lists, numbers, texts and tensors of f32, f16, bf16.
//
//   const TorchValue file = read_torch("jacobian.pt");
//   const TorchValue* j = file.find("J");                        // null if there is none
//   for (const auto& [layer, tensor] : j->dict()) use(layer.integer(), tensor.tensor());
//
// A .pt file is a zip archive: NAME/data.pkl, a pickle, and NAME/data/KEY, the storages that its tensors point to. A pickle is
// a program; this reader runs only those instructions that build such values, and of the functions that a pickle may call only
// the one that makes a tensor and the one that makes an ordered dict. Everything else is refused, never ignored. Containers
// that a pickle uses in two places are refused, so that no small file means a large value. Thread rule: no state.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "microtome/kernels/dtype.h"

namespace microtome {

struct TorchTensor {
  DType dtype = DType::kF32;  // F32, F16, BF16
  std::vector<int64_t> shape;
  std::vector<std::byte> data;  // dense, row-major, little-endian

  std::vector<float> floats() const;
  static TorchTensor f16(std::span<const float> values, std::vector<int64_t> shape);  // rounded to nearest even
  static TorchTensor f32(std::span<const float> values, std::vector<int64_t> shape);
};

class TorchValue {
 public:
  using List = std::vector<TorchValue>;
  using Dict = std::vector<std::pair<TorchValue, TorchValue>>;  // in the file's order
  using Variant = std::variant<std::monostate, bool, int64_t, double, std::string, List, Dict, TorchTensor>;

  TorchValue() = default;  // None
  template <class T>
  requires(!std::is_same_v<std::decay_t<T>, TorchValue>) TorchValue(T&& x) : value_(std::forward<T>(x)) {}  // NOLINT

  template <class T>
  const T* as() const {
    return std::get_if<T>(&value_);
  }
  template <class T>
  T* as() {
    return std::get_if<T>(&value_);
  }

  // Of a dict; null if this is none or the key is absent.
  const TorchValue* find(std::string_view key) const;

 private:
  Variant value_;
};

// `where` begins every message. Throws kCorrupt (no such archive, cut short, malformed, hostile), kUnsupported (instructions,
// functions and tensor types that are not read).
TorchValue parse_torch(std::span<const std::byte> file, const std::string& where);

// Throws also kNotFound, kIo.
TorchValue read_torch(const std::filesystem::path& path);

// Atomically; torch.load(…, weights_only=True) reads it. Throws kIo.
void write_torch(const std::filesystem::path& path, const TorchValue& value);

}  // namespace microtome
