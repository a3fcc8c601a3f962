// Attention-only models written in code: random ones, and ones whose heads are wired by hand (circuits specification, section 6).
//
//   PlantedModel m = induction_model({.vocab = 24, .context = 48});        // heads 0.0 and 1.1
//   auto model = m.load();
//
// The stream of wired models is [token V | position T | previous token V | output V], one-hot tokens and positions, no norm; W_U
// reads the output slot. Tensors have TransformerLens' names and shapes (W_Q [H, D, K], W_O [H, K, D]).
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "checkpoint_support.h"
#include "microtome/base/rng.h"
#include "microtome/model/model.h"

namespace microtome {

struct PlantedShape {
  int layers = 2, heads = 4, vocab = 24, context = 48;
  int d_head = 0;   // 0: the larger of vocab and context
  int d_model = 0;  // 0: as wired models need
  uint64_t seed = 0;
};

class PlantedModel {
 public:
  explicit PlantedModel(const PlantedShape& s) : s_(s), rng_(s.seed, "planted model") {
    if (s_.d_head == 0) s_.d_head = std::max(s_.vocab, s_.context);
    if (s_.d_model == 0) s_.d_model = 3 * s_.vocab + s_.context;
    add("embed.W_E", {s_.vocab, s_.d_model});
    add("unembed.W_U", {s_.d_model, s_.vocab});
    add("pos_embed.W_pos", {s_.context, s_.d_model});
    for (int l = 0; l < s_.layers; ++l) {
      for (const char* name : {"Q", "K", "V"})
        add(fmt::format("blocks.{}.attn.W_{}", l, name), {s_.heads, s_.d_model, s_.d_head});
      add(fmt::format("blocks.{}.attn.W_O", l), {s_.heads, s_.d_head, s_.d_model});
    }
  }

  int token(int t) const { return t; }
  int position(int p) const { return s_.vocab + p; }
  int previous(int t) const { return s_.vocab + s_.context + t; }
  int output(int t) const { return 2 * s_.vocab + s_.context + t; }
  const PlantedShape& shape() const { return s_; }

  // W_Q, W_K, W_V (stream dimension, head dimension), W_O (head dimension, stream dimension).
  float& at(int layer, char matrix, int head, int row, int column) {
    auto& [shape, values] = tensors_.at(fmt::format("blocks.{}.attn.W_{}", layer, matrix));
    return values[static_cast<size_t>((head * shape[1] + row) * shape[2] + column)];
  }

  // One-hot embeddings, and an output that reads the output slot.
  PlantedModel& wire_ends(float strength = 1) {
    for (int t = 0; t < s_.vocab; ++t) {
      value("embed.W_E", t, token(t)) = 1;
      value("unembed.W_U", output(t), t) = strength;
    }
    for (int p = 0; p < s_.context; ++p) value("pos_embed.W_pos", p, position(p)) = 1;
    return *this;
  }
  // Attends to the position before with score beta, and copies its token to the slot of previous tokens.
  PlantedModel& wire_previous(int layer, int head, float beta = 50) {
    for (int p = 0; p < s_.context; ++p) {
      at(layer, 'Q', head, position(p), p) = beta;
      if (p + 1 < s_.context) at(layer, 'K', head, position(p), p + 1) = 1;
    }
    for (int t = 0; t < s_.vocab; ++t) at(layer, 'V', head, token(t), t) = at(layer, 'O', head, t, previous(t)) = 1;
    return *this;
  }
  // Attends to where the previous token is the current one, and copies that token to the output times `sign`.
  PlantedModel& wire_induction(int layer, int head, float beta = 50, float sign = 1) {
    for (int t = 0; t < s_.vocab; ++t) {
      at(layer, 'Q', head, token(t), t) = beta;
      at(layer, 'K', head, previous(t), t) = 1;
    }
    return wire_copy(layer, head, sign);
  }
  // Attends to the same token.
  PlantedModel& wire_duplicate(int layer, int head, float beta = 50) {
    for (int t = 0; t < s_.vocab; ++t) {
      at(layer, 'Q', head, token(t), t) = beta;
      at(layer, 'K', head, token(t), t) = 1;
    }
    for (int p = 0; p < s_.context && p < s_.d_head; ++p) {
      // ... but not to itself: its own position takes beta away again.
      at(layer, 'Q', head, position(p), p % s_.d_head) -= beta;
      at(layer, 'K', head, position(p), p % s_.d_head) += 1;
    }
    return *this;
  }
  // The query token attends to the key token with score beta.
  PlantedModel& wire_look(int layer, int head, int query, int key, float beta = 50) {
    at(layer, 'Q', head, token(query), key % s_.d_head) += beta;
    at(layer, 'K', head, token(key), key % s_.d_head) += 1;
    return *this;
  }
  // OV: token to output, times `sign`.
  PlantedModel& wire_copy(int layer, int head, float sign = 1) {
    for (int t = 0; t < s_.vocab; ++t) {
      at(layer, 'V', head, token(t), t) = 1;
      at(layer, 'O', head, t, output(t)) = sign;
    }
    return *this;
  }
  // Gaussian noise of this standard deviation in what the head looks for; it writes nothing.
  PlantedModel& noisy_attention(int layer, int head, float sd) {
    for (const char m : {'Q', 'K'})
      for (int i = 0; i < s_.d_model; ++i)
        for (int k = 0; k < s_.d_head; ++k) at(layer, m, head, i, k) += sd * static_cast<float>(rng_.normal(drawn_++));
    return *this;
  }
  // Every weight Gaussian, of standard deviation 1 / sqrt(d_model); embeddings 1. Read through LNPre.
  PlantedModel& randomise() {
    norm_ = "LNPre";
    for (auto& [name, t] : tensors_) {
      const bool embedding = name == "embed.W_E" || name == "pos_embed.W_pos";
      const float sd = embedding ? 1.0f : 1.0f / std::sqrt(static_cast<float>(s_.d_model));
      for (float& x : t.second) x = sd * static_cast<float>(rng_.normal(drawn_++));
    }
    return *this;
  }

  std::shared_ptr<const Model> load() const {
    Json config{
        {"model_type", "attn_only"}, {"n_layers", s_.layers},   {"d_model", s_.d_model},
        {"n_heads", s_.heads},       {"d_head", s_.d_head},     {"vocab", s_.vocab},
        {"context", s_.context},     {"positions", "standard"}, {"attn_scale", norm_.empty() ? 1.0 : std::sqrt(s_.d_head)}};
    if (!norm_.empty()) config["normalization"] = norm_;
    return load_checkpoint(config, tensors_);
  }

 private:
  void add(const std::string& name, std::vector<int64_t> shape) {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    tensors_[name] = {shape, std::vector<float>(static_cast<size_t>(n), 0.0f)};
  }
  float& value(const std::string& name, int row, int column) {
    auto& [shape, values] = tensors_.at(name);
    return values[static_cast<size_t>(row * shape[1] + column)];
  }

  PlantedShape s_;
  Philox rng_;
  uint64_t drawn_ = 0;
  std::string norm_;
  CheckpointValues tensors_;
};

// Induction by two heads, the previous-token head `0.previous` and the induction head `1.induction`; the other heads' attention
// is noise, and they write nothing.
inline PlantedModel induction_model(const PlantedShape& shape = {}, int previous = 0, int induction = 1, float noise = 0.3f) {
  PlantedModel m(shape);
  m.wire_ends(20).wire_previous(0, previous).wire_induction(1, induction);
  for (int l = 0; l < 2; ++l)
    for (int h = 0; h < shape.heads; ++h)
      if (h != (l == 0 ? previous : induction)) m.noisy_attention(l, h, noise);
  return m;
}

inline std::shared_ptr<const Model> random_model(uint64_t seed) {
  return PlantedModel({.layers = 2, .heads = 4, .vocab = 50, .context = 48, .d_head = 16, .d_model = 64, .seed = seed})
      .randomise()
      .load();
}

}  // namespace microtome
