#include "microtome/model/families/config_reader.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/model/config.h"

namespace microtome {

std::string architecture_of(const Checkpoint& checkpoint) {
  if (checkpoint.format() == CheckpointFormat::kGguf)
    return std::string(checkpoint.metadata().string("general.architecture").value_or(""));
  const ConfigReader reader(checkpoint.config());
  return reader.text("model_type", "");
}

const Json* ConfigReader::find(std::string_view key) const {
  if (!json_.is_object()) return nullptr;
  const auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

const Json& ConfigReader::need(std::string_view key) const {
  const Json* value = find(key);
  if (!value) throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is missing", where_, key);
  return *value;
}

bool ConfigReader::has(std::string_view key) const { return find(key) != nullptr; }

int64_t ConfigReader::integer(std::string_view key) const {
  const Json& v = need(key);
  // Beyond 2^53 a count is nonsense, and some writers use floats for whole numbers.
  const double x = v.is_number() ? v.get<double>() : NAN;
  if (!(std::abs(x) <= 9e15) || x != std::floor(x))
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is {}, expected a whole number", where_, key, printable(dump_json(v)));
  return static_cast<int64_t>(x);
}

int64_t ConfigReader::integer(std::string_view key, int64_t fallback) const { return has(key) ? integer(key) : fallback; }

double ConfigReader::number(std::string_view key) const {
  const Json& v = need(key);
  if (!v.is_number())
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is {}, expected a number", where_, key, printable(dump_json(v)));
  return v.get<double>();
}

double ConfigReader::number(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }

bool ConfigReader::boolean(std::string_view key, bool fallback) const {
  const Json* v = find(key);
  if (!v) return fallback;
  if (!v->is_boolean())
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is {}, expected true or false", where_, key, printable(dump_json(*v)));
  return v->get<bool>();
}

std::string ConfigReader::text(std::string_view key, std::string_view fallback) const {
  const Json* v = find(key);
  if (!v) return std::string(fallback);
  if (!v->is_string())
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is {}, expected a string", where_, key, printable(dump_json(*v)));
  return v->get<std::string>();
}

ConfigReader ConfigReader::object(std::string_view key) const {
  static const Json empty = Json::object();
  const Json* v = find(key);
  if (v && !v->is_object())
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is {}, expected an object", where_, key, printable(dump_json(*v)));
  return ConfigReader(v ? *v : empty, fmt::format("{}: {}", where_, key));
}

void read_rope(const ConfigReader& reader, Config& config, std::string_view older_theta_key, double default_theta) {
  const ConfigReader newer = reader.object("rope_parameters"), older = reader.object("rope_scaling");
  const bool is_newer = reader.has("rope_parameters");
  const ConfigReader& scaling = is_newer ? newer : older;
  config.rope_theta = is_newer ? newer.number("rope_theta", reader.number(older_theta_key, default_theta))
                               : reader.number(older_theta_key, default_theta);
  const std::string kind = scaling.text("rope_type", scaling.text("type", "default"));
  RopeScaling& s = config.rope_scaling;
  if (kind == "default") return;
  if (kind == "linear") {
    s.kind = RopeScaling::Kind::kLinear;
    s.factor = scaling.number("factor");
  } else if (kind == "llama3") {
    s.kind = RopeScaling::Kind::kLlama3;
    s.factor = scaling.number("factor");
    s.low_frequency = scaling.number("low_freq_factor");
    s.high_frequency = scaling.number("high_freq_factor");
    s.original_context = scaling.integer("original_max_position_embeddings");
    if (!(s.high_frequency > s.low_frequency) || s.original_context < 1)
      throw Error(ErrorKind::kCorrupt,
                  "config.json: rope scaling: high_freq_factor must be above low_freq_factor, the original context positive");
  } else {
    throw Error(ErrorKind::kUnsupported, "config.json: rope scaling \"{}\" is not supported; known are default, linear, llama3",
                printable(kind));
  }
  if (!(s.factor > 0 && s.factor < 1e6)) throw Error(ErrorKind::kCorrupt, "config.json: rope scaling: factor is {}", s.factor);
}

Activation read_activation(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::kSilu;
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_fast") return Activation::kGeluTanh;
  throw Error(ErrorKind::kUnsupported, "config.json: activation \"{}\" is not supported; known are silu, relu, gelu, gelu_new",
              printable(name));
}

}  // namespace microtome
