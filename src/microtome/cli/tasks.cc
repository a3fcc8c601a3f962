#include "microtome/api/tasks.h"

#include <nlohmann/json.hpp>

#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

std::string figure(const Json& value, const char* format) {
  return value.is_null() ? "-" : fmt::format(fmt::runtime(format), value.get<double>());
}

std::string list_text(const Json& result) {
  Table table({{"task"},
               {"prompts", Align::kRight},
               {"metric"},
               {"clean", Align::kRight},
               {"corrupted", Align::kRight},
               {"right", Align::kRight},
               {"chance", Align::kRight},
               {"what it is"}});
  std::string notes;
  for (const Json& t : result["tasks"]) {
    table.row({t["name"], std::to_string(t["n"].get<int64_t>()), t["metric"], figure(t["clean"], "{:.3f}"),
               figure(t["corrupted"], "{:.3f}"),
               t["accuracy"].is_null() ? "-" : fmt::format("{:.0f} %", 100 * t["accuracy"].get<double>()),
               t["chance"].is_null() ? "-" : fmt::format("{:.0f} %", 100 * t["chance"].get<double>()), t["summary"]});
    if (t.contains("reason")) notes += t["reason"].get<std::string>() + "\n";
    else if (!t["ok"].get<bool>())
      notes += fmt::format("warning: this model fails at {}; what is found on it is not how it is done\n",
                           t["name"].get<std::string>());
  }
  const std::string text = table.text(terminal_columns());
  return notes.empty() ? text : text + "\n" + notes;
}

std::string answer_text(const Json& answer) {
  if (answer.is_string()) return "\"" + answer.get<std::string>() + "\"";
  std::string out;
  for (const Json& a : answer) out += (out.empty() ? "" : " ") + answer_text(a);
  return out.empty() ? "-" : out;
}

std::string prompts_text(const Json& result) {
  std::string out;
  for (const Json& p : result["prompts"]) {
    const auto side = [&](const char* name) { return p[name].is_string() ? p[name].get<std::string>() : p[name].dump(); };
    out += fmt::format("clean      {}\ncorrupted  {}\nanswer     {}   wrong {}\npositions ", side("clean"), side("corrupted"),
                       answer_text(p["answer"]), answer_text(p["wrong"]));
    for (const auto& [role, position] : p["positions"].items()) out += fmt::format(" {} {}", role, position.get<int>());
    out += "\n\n";
  }
  return out;
}

class TasksCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    options.group("Tasks");
    options.text("--show", "NAME", "show this task's prompts instead of the list", options_.show);
    options.integer("--n", "N", "prompts of each task (default: its own number)", options_.n, 1, 10'000);
    options.flag("--bos", "put the beginning-of-text token before each prompt", options_.bos, true);
    options.flag("--no-bos", "do not", options_.bos, false);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome tasks smollm2-135m");
    options.example("microtome tasks smollm2-135m --show ioi --n 4");
    options.example("microtome tasks smollm2-135m --show greater-than --json");
  }

  void run() override {
    check_writable(output_.out);
    options_.seed = static_cast<uint64_t>(model_.seed);
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::tasks(loaded.context(), options_);
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(options_.show ? prompts_text(result) : list_text(result));
    out.finish();
  }

 private:
  ModelArguments model_;
  OutputArguments output_;
  api::TasksOptions options_;
};

}  // namespace

std::unique_ptr<Command> make_tasks() { return std::make_unique<TasksCommand>(); }

}  // namespace microtome::cli
