// Reads fields out of config.json or GGUF metadata: typed, with defaults, and errors that name the field.
#pragma once

#include <string>
#include <string_view>

#include "microtome/base/json.h"
#include "microtome/formats/checkpoint.h"

namespace microtome {

// "model_type" of config.json, or "general.architecture" of a GGUF file; empty if there is none.
std::string architecture_of(const Checkpoint& checkpoint);

class ConfigReader {
 public:
  explicit ConfigReader(const Json& json, std::string where = "config.json") : json_(json), where_(std::move(where)) {}

  bool has(std::string_view key) const;  // present and not null
  int64_t integer(std::string_view key) const;
  int64_t integer(std::string_view key, int64_t fallback) const;
  double number(std::string_view key) const;
  double number(std::string_view key, double fallback) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::string text(std::string_view key, std::string_view fallback) const;
  ConfigReader object(std::string_view key) const;  // an empty one if absent

 private:
  const Json* find(std::string_view key) const;
  const Json& need(std::string_view key) const;
  const Json& json_;
  std::string where_;
};

// rope_theta and rope scaling, from `rope_theta` + `rope_scaling` (older) or `rope_parameters` (newer transformers).
struct Config;
void read_rope(const ConfigReader& reader, Config& config, std::string_view older_theta_key, double default_theta);

enum class Activation : uint8_t;
Activation read_activation(const std::string& name);

}  // namespace microtome
