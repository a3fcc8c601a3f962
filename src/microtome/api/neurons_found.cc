// Lines of what an earlier search found: a file that may have been cut short, edited or written for another model.
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/neurons.h"

namespace microtome::api {
namespace {

class FoundReader {
 public:
  FoundReader(const Config& config, const std::string& where) : config_(config), where_(where) {}

  FoundLine read(const Json& line) const {
    FoundLine out;
    out.neurons = neurons(line, "neurons");
    out.most_active = neurons(line, "most_active");
    out.right = static_cast<int>(whole(line, "right", INT32_MAX));
    out.probability = number(line, "probability");
    out.share = number(line, "share");
    if (!field(line, "ig").is_object()) fail("\"ig\" is not an object");
    const Json& macs = field(line, "macs");
    out.macs_plain = whole(macs, "plain", int64_t{1} << 60);
    out.macs_executed = whole(macs, "executed", int64_t{1} << 60);
    return out;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorKind::kCorrupt, "{}: {}; search anew, without --resume", where_, what);
  }

  const Json& field(const Json& object, const char* name) const {
    if (!object.is_object() || !object.contains(name)) fail(fmt::format("\"{}\" is missing", name));
    return object.at(name);
  }

  int64_t whole(const Json& object, const char* name, int64_t most) const {
    const Json& v = field(object, name);
    const bool fits = v.is_number_unsigned() ? v.get<uint64_t>() <= static_cast<uint64_t>(most)
                                             : v.is_number_integer() && v.get<int64_t>() >= 0 && v.get<int64_t>() <= most;
    if (!fits) fail(fmt::format("\"{}\" is {}, expected a whole number of at most {}", name, printable(dump_json(v)), most));
    return v.is_number_unsigned() ? static_cast<int64_t>(v.get<uint64_t>()) : v.get<int64_t>();
  }

  double number(const Json& object, const char* name) const {
    const Json& v = field(object, name);
    if (!v.is_number() || !std::isfinite(v.get<double>()))
      fail(fmt::format("\"{}\" is {}, expected a number", name, printable(dump_json(v))));
    return v.get<double>();
  }

  std::vector<FoundNeuron> neurons(const Json& line, const char* name) const {
    const Json& list = field(line, name);
    if (!list.is_array()) fail(fmt::format("\"{}\" is not a list of neurons", name));
    std::vector<FoundNeuron> out;
    for (const Json& n : list) {
      FoundNeuron found;
      found.neuron.layer = static_cast<int>(whole(n, "layer", config_.n_layers - 1));
      found.neuron.index = static_cast<int>(whole(n, "index", config_.d_mlp - 1));
      found.score = number(n, "score");
      found.activation = number(n, "activation");
      found.prompts = static_cast<int>(whole(n, "prompts", INT32_MAX));
      out.push_back(found);
    }
    return out;
  }

  const Config& config_;
  const std::string& where_;
};

}  // namespace

FoundLine read_found_line(const Json& line, const Config& config, const std::string& where) {
  return FoundReader(config, where).read(line);
}

}  // namespace microtome::api
