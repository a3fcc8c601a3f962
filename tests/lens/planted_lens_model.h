// A model whose last block turns the stream into another basis: what its state means at the end, it does not mean before.
//
//   auto model = turning_model(folder);     // 2 blocks, D = V = 16, no norms
//
// Token j is the unit vector e_j. Block 0 does nothing. Block 1 attends evenly to all positions and adds (R - 1) of their mean,
// R e_j = e_(j+1). The unembedding reads R e_k as token k. On a text of one token repeated the model answers with that token.
#pragma once

#include <filesystem>
#include <fstream>
#include <vector>

#include "../formats/temp_folder.h"
#include "microtome/formats/safetensors.h"
#include "microtome/model/model.h"

namespace microtome {

inline std::shared_ptr<const Model> turning_model(const TempFolder& folder, float sharpness = 8) {
  constexpr int64_t d = 16;
  std::vector<float> zeros(d * d, 0.0f), identity(d * d, 0.0f), turn(d * d, 0.0f), unembed(d * d, 0.0f);
  for (int64_t i = 0; i < d; ++i) {
    identity[i * d + i] = 1;
    turn[i * d + i] -= 1;
    turn[i * d + (i + 1) % d] += 1;              // row i: (R - 1) e_i
    unembed[((i + 1) % d) * d + i] = sharpness;  // column k: R e_k
  }
  std::vector<CheckpointTensor> tensors;
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, const std::vector<float>& data) {
    tensors.push_back({name, DType::kF32, std::move(shape), std::as_bytes(std::span(data))});
  };
  add("embed.W_E", {d, d}, identity);
  add("unembed.W_U", {d, d}, unembed);
  for (int l = 0; l < 2; ++l) {
    const std::string a = "blocks." + std::to_string(l) + ".attn.";
    add(a + "W_Q", {1, d, d}, zeros);
    add(a + "W_K", {1, d, d}, zeros);
    add(a + "W_V", {1, d, d}, l == 1 ? identity : zeros);
    add(a + "W_O", {1, d, d}, l == 1 ? turn : zeros);
  }
  write_safetensors(folder / "model.safetensors", tensors);
  folder.write("config.json",
               R"({"model_type": "attn_only", "n_layers": 2, "d_model": 16, "n_heads": 1, "d_head": 16, "vocab": 16,)"
               R"( "context": 64, "normalization": null, "positions": "rotary"})");
  return Model::load(folder.path());
}

}  // namespace microtome
