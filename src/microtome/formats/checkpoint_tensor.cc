#include "microtome/formats/checkpoint_tensor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

#include "microtome/formats/byte_cursor.h"

namespace microtome {

std::optional<uint64_t> tensor_bytes(DType dtype, std::span<const int64_t> shape) {
  uint64_t values = 1;
  for (const int64_t size : shape) {
    if (size < 0 || !multiply_fits(values, static_cast<uint64_t>(size), &values)) return {};
  }
  const int64_t block = dtype_block_size(dtype);
  if (block > 1 && (shape.empty() || shape.back() % block != 0)) return {};
  uint64_t bytes = 0;
  if (!multiply_fits(values / static_cast<uint64_t>(block), static_cast<uint64_t>(dtype_block_bytes(dtype)), &bytes)) return {};
  if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return {};
  return bytes;
}

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

}  // namespace microtome
