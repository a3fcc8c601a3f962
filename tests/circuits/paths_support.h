// What the tests of paths share: golden models, and attention-only models with every bias, as deep as wanted.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../formats/temp_folder.h"
#include "golden_support.h"
#include "microtome/base/json.h"
#include "microtome/base/rng.h"
#include "microtome/model/model.h"

namespace microtome::paths_support {

inline const Model& golden(const std::string& name) { return *golden_model(name); }

// Attention only, with every bias; `layers` deep.
inline std::shared_ptr<const Model> deep_model(int layers, const char* norm = "LN") {
  constexpr int kWidth = 24, kHeads = 3, kHead = 8, kVocab = 64, kContext = 16;
  const Philox rng(17, "paths model");
  uint64_t drawn = 0;
  std::string data;
  Json header = Json::object();
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, double scale, double mean = 0) {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    const size_t begin = data.size();
    for (int64_t i = 0; i < n; ++i) {
      const auto x = static_cast<float>(mean + scale * rng.normal(drawn++));
      data.append(reinterpret_cast<const char*>(&x), sizeof x);
    }
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  add("embed.W_E", {kVocab, kWidth}, 1);
  add("pos_embed.W_pos", {kContext, kWidth}, 0.5);
  add("unembed.W_U", {kWidth, kVocab}, 0.5);
  add("unembed.b_U", {kVocab}, 0.5);
  const bool affine = std::string_view(norm) == "LN";
  const auto add_norm = [&](const std::string& name) {
    add(name + ".w", {kWidth}, 0.2, 1);
    add(name + ".b", {kWidth}, 0.3);
  };
  for (int l = 0; l < layers; ++l) {
    const std::string b = fmt::format("blocks.{}.", l), a = b + "attn.";
    for (const char* name : {"W_Q", "W_K", "W_V"}) add(a + name, {kHeads, kWidth, kHead}, 0.3);
    for (const char* name : {"b_Q", "b_K", "b_V"}) add(a + name, {kHeads, kHead}, 0.3);
    add(a + "W_O", {kHeads, kHead, kWidth}, 0.3);
    add(a + "b_O", {kWidth}, 0.3);
    if (affine) add_norm(b + "ln1");
  }
  if (affine) add_norm("ln_final");
  Json config{{"model_type", "attn_only"}, {"n_layers", layers}, {"d_model", kWidth},   {"n_heads", kHeads},
              {"d_head", kHead},           {"vocab", kVocab},    {"context", kContext}, {"positions", "standard"}};
  if (*norm) config["normalization"] = norm;
  TempFolder folder;
  folder.write("config.json", dump_json(config));
  const std::string text = dump_json(header);
  const uint64_t length = text.size();
  folder.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data);
  return Model::load(folder.path());
}

}  // namespace microtome::paths_support
