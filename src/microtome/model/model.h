// Model: configuration, weights, tokenizer, and the one forward pass that everything in microtome calls.
//
//   auto model = Model::load("SmolLM2-135M-Instruct.Q4_1.gguf", {});
//   Batch batch;
//   batch.add_sequence(ids);
//   Forward result = forward(*model, {.batch = batch, .plan = &plan});
//   result.logits;                                  // [wanted rows, V]
//
// A Model is immutable once loaded; forwards of one model run one at a time (they share its arena).
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "microtome/base/progress.h"
#include "microtome/model/attention_policy.h"
#include "microtome/model/plan.h"
#include "microtome/model/weights.h"
#include "microtome/text/tokenizer.h"

namespace microtome {

enum class ComputeMode : uint8_t {
  kF32,     // weights widened to f32
  kBF16,    // weights and activations of every product rounded to bf16, sums in f32
  kNative,  // weights as stored, widened on the fly: the digits of kF32, less memory
};

struct LoadOptions {
  ComputeMode compute = ComputeMode::kF32;
};

class Model {
 public:
  // A .gguf file or a folder in the Hugging Face layout. Throws NotFound, Corrupt, Unsupported, Io.
  static std::shared_ptr<const Model> load(const std::filesystem::path& path, const LoadOptions& options = {});

  const Config& config() const { return config_; }
  const Weights& weights() const { return weights_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  ComputeMode compute_mode() const { return mode_; }
  Compute compute() const { return mode_ == ComputeMode::kBF16 ? Compute::kBF16 : Compute::kF32; }

  // Null if the folder has none: then only token ids can be given.
  const Tokenizer* tokenizer() const { return tokenizer_.get(); }
  // Throws Unsupported with what to do where there is none.
  const Tokenizer& need_tokenizer() const;

  KvCache make_cache() const { return {config_.n_layers, config_.n_kv_heads, config_.d_head, config_.d_head}; }

  // Angles for positions up to `last`, computed in double; null where the model has no rotary positions.
  std::shared_ptr<const RopeTable> rope_table(int64_t last) const;

  Arena& arena() const { return *arena_; }
  OpContext context() const { return {*arena_, backend(Device::kCpu)}; }

  int64_t parameter_count() const;
  // Bytes that the packed weights hold.
  int64_t weight_bytes() const;

 private:
  explicit Model(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}

  Checkpoint checkpoint_;
  Config config_;
  Weights weights_;
  ComputeMode mode_ = ComputeMode::kF32;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Arena> arena_ = std::make_unique<Arena>();
  mutable std::mutex rope_mutex_;
  mutable std::shared_ptr<const RopeTable> rope_;
};

// The parameters as leaves of a tape, by their id: pass to forward to get their gradients.
class ParameterLeaves {
 public:
  ParameterLeaves(const Model& model, Tape& tape);
  Value of(const Matrix& m) const { return m.present() ? leaves_[m.id] : Value(); }
  Value of(const Vector& v) const { return v.present() ? leaves_[v.id] : Value(); }

 private:
  std::vector<Value> leaves_;
};

struct ForwardInput {
  const Batch& batch;
  const Plan* plan = nullptr;
  Tape* tape = nullptr;
  const ParameterLeaves* parameters = nullptr;  // with a tape: their gradients are wanted
  const AttentionPolicy* attention = nullptr;   // null: dense
  // Start at this layer from a given stream [rows, D] instead of the embedding.
  int first_layer = 0;
  Value residual;
  const Progress* progress = nullptr;  // asked for cancellation between layers
  Compute backward = Compute::kF32;    // of products with weights going backward; kBF16: twice as fast, for sums of many gradients
  int64_t* macs = nullptr;             // multiply-adds of the products with weights are added to it
};

struct Forward {
  Value logits;                     // [logit_rows, V or the plan's columns]; undefined if none are wanted
  std::vector<int32_t> logit_rows;  // rows of the pass
  Value residual;                   // the stream after the last block that ran, [rows, D]
};

// Throws InvalidArgument for a token outside of the vocabulary or a position beyond learned ones, and what edits throw.
// If it throws, the caches in the batch may hold rows of the failed pass: truncate them.
Forward forward(const Model& model, const ForwardInput& input);

// Final norm and unembedding of any stream [rows, D] -> [rows, V], or only the given columns of it; no sites.
Tensor unembed(const Model& model, const Tensor& residual, std::span<const int32_t> columns = {}, int64_t* macs = nullptr);

}  // namespace microtome
