// Element types: plain numbers and the quantised blocks of GGUF files.
#pragma once

#include <cstdint>

namespace microtome {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI8,
  kU8,
  kBool,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  // Blocks of 32 values along the input dimension. w = d*(q-8); d*q + m; d*q, with d and m stored as F16.
  kQ4_0,  // 18 bytes: d, 16 x (low nibble: value i, high nibble: value i + 16)
  kQ4_1,  // 20 bytes: d, m, 16 x nibbles as above
  kQ8_0,  // 34 bytes: d, 32 x int8
};

// "F32", "BF16", "Q4_1", ...: safetensors' and GGUF's spelling.
const char* dtype_name(DType type);

// Values in one block (1 for plain numbers) and bytes of one block.
int64_t dtype_block_size(DType type);
int64_t dtype_block_bytes(DType type);

// Bytes of `n` values; n must be a multiple of the block size.
inline int64_t dtype_bytes(DType type, int64_t n) { return n / dtype_block_size(type) * dtype_block_bytes(type); }

}  // namespace microtome
