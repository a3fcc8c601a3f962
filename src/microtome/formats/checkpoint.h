// A model on disk, whatever its format: a read-only set of named tensors over memory-mapped files.
//
//   const Checkpoint checkpoint = open_checkpoint("SmolLM2-135M-Instruct.Q4_1.gguf");   // or a Hugging Face folder
//   const CheckpointTensor& q = checkpoint.get("blk.0.attn_q.weight");                  // Q4_1, [576, 576]
//   pack(q);
//   checkpoint.release(q);                                                              // the file's pages may go
//
// A handle: copies share the files, which stay mapped as long as one of them lives, and with them every span and view
// handed out. Any number of threads may read.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "microtome/base/json.h"
#include "microtome/formats/checkpoint_tensor.h"
#include "microtome/formats/metadata.h"

namespace microtome {

enum class CheckpointFormat { kGguf, kSafetensors };

class Checkpoint {
 public:
  struct State;  // the files and what they hold; checkpoint.cc's own

  CheckpointFormat format() const;
  // As given to open_checkpoint.
  const std::filesystem::path& path() const;

  // In the file's order; of several files, one after the other.
  std::span<const CheckpointTensor> tensors() const;
  // nullptr if there is no such tensor.
  const CheckpointTensor* find(std::string_view name) const;
  // Throws kNotFound, with the nearest name there is.
  const CheckpointTensor& get(std::string_view name) const;

  // config.json of a Hugging Face folder; an empty object for a GGUF file or a lone .safetensors file.
  const Json& config() const;
  // GGUF's key/value pairs; the strings of "__metadata__" for safetensors (of several files, the first that has a key).
  const Metadata& metadata() const;

  // The file's pages under the tensor need not stay in memory; they come back when read again. `tensor` must be one of
  // this checkpoint's.
  void release(const CheckpointTensor& tensor) const;

 private:
  friend Checkpoint open_checkpoint(const std::filesystem::path&);
  explicit Checkpoint(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

// A .gguf file; a folder with config.json and model.safetensors, or the shards that model.safetensors.index.json names, or
// any other *.safetensors; or one .safetensors file. Throws kNotFound (nothing there, a shard missing), kCorrupt,
// kUnsupported, kInvalidArgument (something else than a model).
Checkpoint open_checkpoint(const std::filesystem::path& path);

}  // namespace microtome
