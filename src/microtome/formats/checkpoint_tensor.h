// One named array inside a checkpoint file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "microtome/kernels/dtype.h"

namespace microtome {

struct CheckpointTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // slowest dimension first, as in Hugging Face's files ([out, in] for a linear layer)
  // Dense, row-major, little-endian, exactly as long as dtype and shape say. Not always aligned to the element.
  std::span<const std::byte> data;
};

// Bytes of a dense array; nothing if the number does not fit into 63 bits, if a size is negative, or if the last
// dimension is not whole blocks of a quantised type.
std::optional<uint64_t> tensor_bytes(DType dtype, std::span<const int64_t> shape);

// "[576, 1536]"
std::string shape_text(std::span<const int64_t> shape);

}  // namespace microtome
