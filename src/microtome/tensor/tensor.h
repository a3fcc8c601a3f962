// Tensor: a shared handle to dense, row-major numbers.
//
//   Tensor x = Tensor::empty({rows, d}, arena);
//   Tensor heads = x.view({rows, n_heads, d_head});   // same memory
//   Tensor tail = x.slice(3, rows);                   // rows 3.. of the first dimension, same memory
//
// Copies of a handle share the memory; clone() copies it. Always dense: a strided operand would send products down
// another path with other bits (see kernels/gemm.h), so views that skip memory do not exist. A default-made tensor is
// undefined. Handles may be copied on any thread; writing is the owner's business.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "microtome/kernels/dtype.h"
#include "microtome/tensor/arena.h"

namespace microtome {

using Shape = std::vector<int64_t>;

std::string to_string(const Shape& shape);  // "[2, 11, 576]"
int64_t numel(const Shape& shape);

enum class Device : uint8_t { kCpu };

class Tensor {
 public:
  Tensor() = default;

  static Tensor empty(Shape shape, Arena& arena = Arena::global(), DType dtype = DType::kF32);
  static Tensor zeros(Shape shape, Arena& arena = Arena::global(), DType dtype = DType::kF32);
  static Tensor from(std::vector<float> values, Shape shape, Arena& arena = Arena::global());

  bool defined() const { return data_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int rank() const { return static_cast<int>(shape_.size()); }
  int64_t size(int dimension) const;  // negative: from the end
  int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  Device device() const { return Device::kCpu; }

  // Elements; the dtype must match.
  float* f32() { return typed<float>(DType::kF32); }
  const float* f32() const { return typed<float>(DType::kF32); }
  int32_t* i32() { return typed<int32_t>(DType::kI32); }
  const int32_t* i32() const { return typed<int32_t>(DType::kI32); }
  uint8_t* u8() { return typed<uint8_t>(DType::kU8); }
  const uint8_t* u8() const { return typed<uint8_t>(DType::kU8); }

  // Width of a row when all but the first dimension are taken together.
  int64_t row_size() const { return shape_.empty() || shape_[0] == 0 ? 0 : numel_ / shape_[0]; }

  Tensor view(Shape shape) const;                  // same number of elements
  Tensor slice(int64_t begin, int64_t end) const;  // of the first dimension
  Tensor clone(Arena& arena = Arena::global()) const;

  // True if no other handle shares the memory: it may be written in place.
  bool unique() const { return data_.use_count() == 1; }
  bool same_memory(const Tensor& other) const { return data_ == other.data_; }

 private:
  template <class T>
  T* typed(DType dtype) const {
    check_dtype(dtype);
    return reinterpret_cast<T*>(data_.get()) + offset_;
  }
  void check_dtype(DType dtype) const;

  std::shared_ptr<std::byte> data_;
  int64_t offset_ = 0, numel_ = 0;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

}  // namespace microtome
