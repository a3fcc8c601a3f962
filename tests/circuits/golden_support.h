// What the tests of circuits share: golden models, each loaded once. Not for several threads.
//
//   for (const char* family : kFamilies) run(*golden_model(family));
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "microtome/model/model.h"

namespace microtome {

inline std::shared_ptr<const Model> golden_model(const std::string& name) {
  static std::map<std::string, std::shared_ptr<const Model>> models;
  auto& model = models[name];
  if (!model) model = Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models" / name);
  return model;
}

// LayerNorm and RMSNorm, learned and rotary positions, grouped queries, parallel blocks, no MLPs.
inline const char* const kFamilies[] = {"gpt2",        "llama_gqa_tied", "llama3_scaled_bias",    "neox_parallel",
                                        "neox_serial", "attn_only_ln",   "attn_only_shortformer", "attn_only_rotary"};

}  // namespace microtome
