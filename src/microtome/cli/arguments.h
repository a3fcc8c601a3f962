// What commands share: the input, the common options, and loading the model they ask for.
//
//   CommonArguments common;  InputArguments input;  EditArguments edits;
//   common.declare(options);  input.declare(options);  edits.declare(options);
//   ...
//   const LoadedModel loaded = common.load(model);                  // threads set, model in memory
//   api::lens(loaded.context(), {.input = input.read(), .edits = edits.read()});
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "microtome/api/commands.h"
#include "microtome/cli/interrupt.h"
#include "microtome/cli/option_set.h"

namespace microtome::cli {

// A model, and the progress that Ctrl-C cancels while this lives.
class LoadedModel {
 public:
  LoadedModel(std::shared_ptr<const Model> model, std::string name, double load_s, bool quiet);
  api::Context context() { return {model_, name_, &progress_}; }
  const Model& model() const { return *model_; }
  double load_s() const { return load_s_; }

 private:
  std::shared_ptr<const Model> model_;
  std::string name_;
  double load_s_;
  Progress progress_;
  InterruptGuard guard_;
};

struct OutputArguments {
  bool json = false, quiet = false;
  std::optional<std::string> out;

  void declare(OptionSet& options, const std::string& out_help = "write the result here instead of to standard output");
};

struct ModelArguments {
  std::string model;
  int64_t threads = 0, seed = 0;
  std::string compute = "f32";

  void declare(OptionSet& options, bool required = true);  // MODEL
  void declare_machine(OptionSet& options);                // --threads, --compute, --seed
  ComputeMode compute_mode() const;
  // Throws what resolve_model and Model::load throw.
  LoadedModel load(bool quiet) const;
};

class InputArguments {
 public:
  // --prompt, --file, --prompts, --tokens, --tokens-npy, --bos, --no-bos, --chat.
  void declare(OptionSet& options);
  // Without the two that give token ids.
  void declare_text(OptionSet& options);
  // Reads the files that are named; exactly one input must be given.
  api::InputOptions read() const;
  // Some input was given: of commands that have a text of their own.
  bool given() const { return prompt_ || file_ || tokens_ || tokens_npy_ || prompts_; }
  std::optional<bool> bos() const { return bos_; }

 private:
  void declare_input(OptionSet& options, bool with_ids);
  std::optional<std::string> prompt_, file_, tokens_, tokens_npy_, prompts_;
  std::optional<bool> bos_;
  bool chat_ = false;
};

struct EditArguments {
  std::vector<std::string> edits;
  void declare(OptionSet& options);
  // Says on standard error what could not be found out about their lenses, unless `quiet`.
  std::vector<api::EditOptions> read(bool quiet = false) const;
};

// The prompts that an input holds.
size_t prompt_count(const api::InputOptions& input);

// The lines of a text, each without its newline; what follows the last newline counts if it is not empty.
std::vector<std::string> lines_of(const std::string& text);

// Throws Io if `path` cannot be written to: before the work, not after it.
void check_writable(const std::optional<std::string>& path);

}  // namespace microtome::cli
