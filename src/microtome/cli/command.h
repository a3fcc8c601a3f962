// A command: its options, and what it does with them. One file each; commands.cc lists them.
//
//   class ModelsCommand : public Command { ... };
//   std::unique_ptr<Command> make_models() { return std::make_unique<ModelsCommand>(); }
//
// run() writes results to an Output and throws microtome::Error; program.cc turns errors into one line and an exit code.
#pragma once

#include <memory>
#include <span>

#include "microtome/cli/option_set.h"

namespace microtome::cli {

class Command {
 public:
  virtual ~Command() = default;
  // Binds this command's members to options. Called once, before run().
  virtual void declare(OptionSet& options) = 0;
  virtual void run() = 0;
};

struct CommandEntry {
  const char* name;
  const char* summary;
  std::unique_ptr<Command> (*make)();
};

// In the order of --help.
std::span<const CommandEntry> commands();

std::unique_ptr<Command> make_pull();
std::unique_ptr<Command> make_models();
std::unique_ptr<Command> make_inspect();
std::unique_ptr<Command> make_tokenize();
std::unique_ptr<Command> make_run();
std::unique_ptr<Command> make_trace();
std::unique_ptr<Command> make_lens();
std::unique_ptr<Command> make_train();
std::unique_ptr<Command> make_perplexity();
std::unique_ptr<Command> make_heads();
std::unique_ptr<Command> make_weights();
std::unique_ptr<Command> make_tasks();
std::unique_ptr<Command> make_paths();
std::unique_ptr<Command> make_patch();
std::unique_ptr<Command> make_circuit();
std::unique_ptr<Command> make_neurons();
std::unique_ptr<Command> make_bench();
std::unique_ptr<Command> make_serve();
std::unique_ptr<Command> make_completion();

}  // namespace microtome::cli
