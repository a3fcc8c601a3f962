// GGUF, the file format of llama.cpp: versions 2 and 3, little-endian.
//
//   "GGUF", u32 version, u64 tensors, u64 pairs
//   pairs:    string key, u32 type (0-12: u8 i8 u16 i16 u32 i32 f32 bool string array u64 i64 f64), value
//             string: u64 length, bytes.  array: u32 element type, u64 count, elements (arrays may nest)
//   tensors:  string name (at most 64 bytes), u32 dimensions (at most 4), u64 sizes (fastest first), u32 type,
//             u64 offset from the start of the data, a multiple of general.alignment (a power of two, 32 if not given)
//   data:     begins at the next multiple of the alignment
//
// Thread rule: free functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "microtome/formats/checkpoint_tensor.h"
#include "microtome/formats/metadata.h"

namespace microtome {

struct GgufContents {
  uint32_t version = 0;
  Metadata metadata;
  std::vector<CheckpointTensor> tensors;  // sizes reversed: slowest first
};

// Views into `file`, which must outlive them; `where` begins every message. Throws kCorrupt (cut short, malformed,
// hostile), kUnsupported (another version, a type of tensor that microtome does not read, one part of a split model).
// Memory and time are bounded by the size of the file, whatever counts it claims.
GgufContents read_gguf(std::span<const std::byte> file, const std::string& where);

using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string, uint64_t, int64_t,
                               double, std::vector<std::string>, std::vector<int32_t>, std::vector<uint32_t>, std::vector<float>>;

// Version 3, atomically. Throws kInvalidArgument (a name twice or too long, data of another size than dtype and shape say,
// an alignment that is not a power of two), kUnsupported (a dtype that GGUF lacks), kIo.
void write_gguf(const std::filesystem::path& path, std::span<const CheckpointTensor> tensors,
                std::span<const std::pair<std::string, GgufValue>> metadata = {}, uint32_t alignment = 32);

}  // namespace microtome
