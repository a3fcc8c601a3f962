#include <map>
#include <nlohmann/json.hpp>

#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

std::string word(const Json& value) {
  return value.is_string() ? inert(value.get<std::string>()) : value.is_null() ? "-" : value.dump();
}

// "[batch, pos, 9, 64]"
std::string shape_words(const Json& shape) {
  std::string out;
  for (const Json& d : shape) out += (out.empty() ? "" : ", ") + word(d);
  return "[" + out + "]";
}

std::string config_table(const Json& config) {
  Table table({{"configuration"}, {"", Align::kRight}});
  for (const auto& [key, value] : config.items()) table.row({key, word(value)});
  return table.text(terminal_columns());
}

std::string all_tensors(const Json& tensors) {
  Table table({{"tensor"}, {"shape"}, {"dtype"}, {"size", Align::kRight}});
  for (const Json& t : tensors)
    table.row({word(t["name"]), shape_words(t["shape"]), word(t["dtype"]), bytes_text(t["bytes"].get<double>())});
  return table.text(terminal_columns());
}

std::string tensor_summary(const Json& tensors) {
  std::map<std::string, std::pair<int64_t, double>> by_dtype;
  double total = 0;
  for (const Json& t : tensors) {
    auto& [count, bytes] = by_dtype[word(t["dtype"])];
    ++count;
    bytes += t["bytes"].get<double>();
    total += t["bytes"].get<double>();
  }
  Table table({{"tensors"}, {"number", Align::kRight}, {"size", Align::kRight}});
  for (const auto& [dtype, sums] : by_dtype) table.row({dtype, fmt::format("{}", sums.first), bytes_text(sums.second)});
  table.row({"all", fmt::format("{}", tensors.size()), bytes_text(total)});
  return table.text(terminal_columns());
}

// Every layer's sites have one shape: a line for each kind, with the layers that have it.
std::string site_table(const Json& sites) {
  struct Kind {
    std::string name, shape;
    int64_t first = -1, last = -1;
  };
  std::vector<Kind> kinds;
  std::map<std::string, size_t> index;
  for (const Json& s : sites) {
    const std::string name = word(s["name"]);
    std::string general = name;
    int64_t layer = -1;
    if (name.starts_with("blocks.")) {
      const size_t dot = name.find('.', 7);
      layer = std::atoll(name.c_str() + 7);
      general = "blocks.*" + name.substr(dot);
    }
    const auto [it, fresh] = index.try_emplace(general, kinds.size());
    if (fresh) kinds.push_back({general, shape_words(s["shape"]), layer, layer});
    else kinds[it->second].last = layer;
  }
  Table table({{"site"}, {"shape"}, {"layers", Align::kRight}});
  for (const Kind& k : kinds) table.row({k.name, k.shape, k.first < 0 ? "-" : fmt::format("{}-{}", k.first, k.last)});
  return table.text(terminal_columns());
}

class InspectCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    options.positional("MODEL", "a name from `microtome models`, a .gguf file, or a folder", model_);
    options.group("What to show");
    options.flag("--tensors", "every tensor by name, not only a summary", tensors_);
    output_.declare(options);
    options.example("microtome inspect smollm2-135m");
    options.example("microtome inspect ./pythia-70m --tensors");
    options.example("microtome inspect smollm2-135m --json | jq -r '.sites[].name'");
  }

  void run() override {
    check_writable(output_.out);
    const Json result = api::inspect_file(api::resolve_model(model_), model_);
    Output out(output_.out);
    if (output_.json) {
      out.json(result);
    } else {
      const Json& tensors = result["tensors"];
      out.write(inert(model_) + "\n\n" + config_table(result["config"]) + "\n" +
                (tensors_ ? all_tensors(tensors) : tensor_summary(tensors)) + "\n" + site_table(result["sites"]));
    }
    out.finish();
  }

 private:
  std::string model_;
  bool tensors_ = false;
  OutputArguments output_;
};

}  // namespace

std::unique_ptr<Command> make_inspect() { return std::make_unique<InspectCommand>(); }

}  // namespace microtome::cli
