#include <nlohmann/json.hpp>

#include "microtome/base/file.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr int kUncut = 1 << 20;

std::string text_or(const Json& value, const char* otherwise) { return value.is_string() ? value.get<std::string>() : otherwise; }

class ModelsCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    output_.declare(options);
    options.example("microtome models");
    options.example("microtome models --json");
  }

  void run() override {
    check_writable(output_.out);
    const Json result = api::models();
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(text(result["models"]));
    out.finish();
  }

 private:
  static std::string text(const Json& models) {
    const std::string folder = inert((data_home() / "models").string());
    if (models.empty())
      return "No model is here yet: `microtome pull smollm2-135m` fetches one, or put .gguf files into " + folder + "\n";
    Table table({{"name"}, {"family"}, {"parameters", Align::kRight}, {"size", Align::kRight}, {"license"}, {"path"}});
    std::string broken;
    for (const Json& m : models) {
      const std::string name = inert(m["name"].get<std::string>());
      table.row({name, m.contains("error") ? "unreadable" : text_or(m["family"], "?"),
                 m["parameters"].is_number() ? count_text(m["parameters"].get<double>()) : "?",
                 bytes_text(m["bytes"].get<double>()), inert(text_or(m["license"], "-")), inert(m["path"].get<std::string>())});
      if (m.contains("error")) broken += "\n" + name + ": " + inert(m["error"].get<std::string>());
    }
    // A path that is cut is of no use.
    return table.text(kUncut) + (broken.empty() ? "" : broken + "\n");
  }

  OutputArguments output_;
};

}  // namespace

std::unique_ptr<Command> make_models() { return std::make_unique<ModelsCommand>(); }

}  // namespace microtome::cli
