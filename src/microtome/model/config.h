// What a model is: one block with flags. Every family is a setting of these, read from its checkpoint's configuration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "microtome/kernels/fused.h"

namespace microtome {

enum class NormKind : uint8_t {
  kNone,
  kLayerNorm,     // (x - mean) / scale * gamma + beta
  kLayerNormPre,  // TransformerLens' LNPre: without gamma and beta
  kRmsNorm,       // x / scale * gamma
};

enum class PositionKind : uint8_t {
  kNone,
  kLearned,      // W_pos added to the embedding (GPT-2; TransformerLens' "standard")
  kShortformer,  // W_pos added to what queries and keys read, not to the stream
  kRotary,
};

struct RopeScaling {
  enum class Kind : uint8_t { kNone, kLinear, kLlama3 } kind = Kind::kNone;
  double factor = 1;
  // Llama 3: wavelengths above original / low_frequency are stretched by `factor`, those below original / high_frequency are
  // kept, the rest is interpolated.
  double low_frequency = 1, high_frequency = 4;
  int64_t original_context = 8192;
};

struct Config {
  std::string family;  // "llama", "gpt2", "gpt_neox", "attn_only"
  int64_t n_layers = 0, d_model = 0, n_heads = 0, n_kv_heads = 0, d_head = 0, d_mlp = 0, vocab = 0, context = 0;

  NormKind norm = NormKind::kRmsNorm;
  float eps = 1e-5f;
  bool final_norm = true;
  PositionKind positions = PositionKind::kRotary;
  double rope_theta = 10000;
  int64_t rotary = 0;  // turned dimensions of each head
  bool rope_adjacent = false;
  RopeScaling rope_scaling;
  std::vector<float> rope_divisors;  // rotary / 2 divisors of the frequencies (GGUF's rope_freqs), or empty
  float attention_scale = 0;         // scores = q · k * attention_scale
  bool mlp = true, gated_mlp = true;
  Activation activation = Activation::kSilu;
  bool parallel = false;  // attention and MLP read the same stream, and are added together
  bool tied = false;

  bool has_mlp() const { return mlp; }
  // The stream has a state between attention and MLP.
  bool has_resid_mid() const { return mlp && !parallel; }
};

// Throws Error(kUnsupported / kCorrupt) naming the first field that is out of bounds or does not fit the others.
void validate(const Config& config);

}  // namespace microtome
