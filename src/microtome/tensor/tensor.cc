#include "microtome/tensor/tensor.h"

#include <algorithm>
#include <cstring>

#include "microtome/base/error.h"

namespace microtome {

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

int64_t numel(const Shape& shape) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  return n;
}

Tensor Tensor::empty(Shape shape, Arena& arena, DType dtype) {
  Tensor t;
  t.numel_ = microtome::numel(shape);
  t.shape_ = std::move(shape);
  t.dtype_ = dtype;
  t.data_ = arena.allocate(static_cast<size_t>(std::max<int64_t>(1, t.numel_) * dtype_block_bytes(dtype)));
  return t;
}

Tensor Tensor::zeros(Shape shape, Arena& arena, DType dtype) {
  Tensor t = empty(std::move(shape), arena, dtype);
  std::memset(t.data_.get(), 0, static_cast<size_t>(t.numel_ * dtype_block_bytes(dtype)));
  return t;
}

Tensor Tensor::from(std::vector<float> values, Shape shape, Arena& arena) {
  Tensor t = empty(std::move(shape), arena);
  MT_CHECK_EQ(static_cast<int64_t>(values.size()), t.numel_);
  std::copy(values.begin(), values.end(), t.f32());
  return t;
}

int64_t Tensor::size(int dimension) const {
  const int i = dimension < 0 ? dimension + rank() : dimension;
  MT_CHECK(i >= 0 && i < rank());
  return shape_[i];
}

Tensor Tensor::view(Shape shape) const {
  MT_CHECK_EQ(microtome::numel(shape), numel_);
  Tensor t = *this;
  t.shape_ = std::move(shape);
  return t;
}

Tensor Tensor::slice(int64_t begin, int64_t end) const {
  MT_CHECK(rank() >= 1 && 0 <= begin && begin <= end && end <= shape_[0]);
  Tensor t = *this;
  t.offset_ += begin * row_size();
  t.shape_[0] = end - begin;
  t.numel_ = microtome::numel(t.shape_);
  return t;
}

Tensor Tensor::clone(Arena& arena) const {
  Tensor t = empty(shape_, arena, dtype_);
  const int64_t bytes = dtype_block_bytes(dtype_);
  std::memcpy(t.data_.get(), data_.get() + offset_ * bytes, static_cast<size_t>(numel_ * bytes));
  return t;
}

void Tensor::check_dtype(DType dtype) const {
  MT_CHECK(defined());
  MT_CHECK_EQ(static_cast<int>(dtype), static_cast<int>(dtype_));
}

}  // namespace microtome
