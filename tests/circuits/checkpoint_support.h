// A checkpoint written by a test: float tensors by name, and their configuration.
//
//   auto model = load_checkpoint({{"model_type", "attn_only"}, ...}, tensors);
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "../formats/temp_folder.h"
#include "microtome/base/json.h"
#include "microtome/model/model.h"

namespace microtome {

// Name -> shape and row-major values.
using CheckpointValues = std::map<std::string, std::pair<std::vector<int64_t>, std::vector<float>>>;

// Written without waiting for the disk, as write_safetensors does: a test makes thousands.
inline std::shared_ptr<const Model> load_checkpoint(const Json& config, const CheckpointValues& tensors) {
  TempFolder folder;
  folder.write("config.json", dump_json(config));
  Json header = Json::object();
  std::string data;
  for (const auto& [name, t] : tensors) {
    const size_t begin = data.size();
    data.append(reinterpret_cast<const char*>(t.second.data()), t.second.size() * sizeof(float));
    header[name] = {{"dtype", "F32"}, {"shape", t.first}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = dump_json(header);
  const uint64_t length = text.size();
  folder.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data);
  return Model::load(folder.path());
}

}  // namespace microtome
