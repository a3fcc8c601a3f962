// safetensors, the file format of Hugging Face's checkpoints.
//
//   u64 length of the header (at most 100 MB), the header, data
//   header: {"NAME": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …, "__metadata__": {"key": "text", …}}
//
// Offsets count from the start of the data. The tensors fill the data without overlap and without a hole.
//
// Thread rule: free functions without state.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "microtome/formats/checkpoint_tensor.h"

namespace microtome {

struct SafetensorsContents {
  std::vector<CheckpointTensor> tensors;                      // in the header's order
  std::vector<std::pair<std::string, std::string>> metadata;  // of "__metadata__"
};

// Tensors are views into `file`, which must outlive them; `where` begins every message. Throws kCorrupt (cut short,
// malformed, hostile), kUnsupported (a dtype that microtome does not read).
SafetensorsContents read_safetensors(std::span<const std::byte> file, const std::string& where);

// Atomically. Wide dtypes come first, so that all data is aligned to its element. Throws kInvalidArgument (a name twice,
// "__metadata__" as a name, data of another size than dtype and shape say), kUnsupported (a quantised dtype), kIo.
void write_safetensors(const std::filesystem::path& path, std::span<const CheckpointTensor> tensors,
                       std::span<const std::pair<std::string, std::string>> metadata = {});

}  // namespace microtome
