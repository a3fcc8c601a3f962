#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/cli/command.h"
#include "microtome/cli/interrupt.h"
#include "microtome/cli/output.h"
#include "microtome/cli/progress_line.h"

namespace microtome::cli {
namespace {

class PullCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    std::string names;
    for (const api::KnownModel& m : api::known_models()) names += (names.empty() ? "" : ", ") + m.name;
    options.positional("NAME", "the model's name: " + names, name_);
    options.flag("--json", "print JSON", json_);
    options.flag("--quiet", "no progress", quiet_);
    options.example("microtome pull smollm2-135m");
    options.example("MICROTOME_HOME=/data/microtome microtome pull smollm2-135m");
  }

  void run() override {
    Progress progress(progress_line(quiet_));
    const InterruptGuard guard(progress);
    const std::filesystem::path path = api::pull(name_, &progress);
    Output out;
    if (json_) out.json({{"name", name_}, {"path", path.string()}});
    else out.write(path.string() + "\n");
    out.finish();
  }

 private:
  std::string name_;
  bool json_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_pull() { return std::make_unique<PullCommand>(); }

}  // namespace microtome::cli
