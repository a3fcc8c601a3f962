// The options of commands that work on prompt pairs: --clean, --corrupted, --answer, --wrong; --pairs; --task, --n.
//
//   ExampleArguments examples;
//   examples.declare(options);
//   ...
//   api::ExampleSet set = api::read_examples(loaded.context(), examples.read(model_.seed));
#pragma once

#include "microtome/api/examples.h"
#include "microtome/cli/option_set.h"

namespace microtome::cli {

class ExampleArguments {
 public:
  // `pairs`: also prompts of one's own, not only tasks.
  void declare(OptionSet& options);
  bool given() const { return clean_ || corrupted_ || pairs_ || task_; }
  // Reads the file of pairs.
  api::ExamplesOptions read(int64_t seed) const;

 private:
  std::optional<std::string> clean_, corrupted_, pairs_, task_;
  std::vector<std::string> answers_, wrong_;
  int64_t n_ = 0;
  bool first_token_ = false;
  std::optional<bool> bos_;
};

}  // namespace microtome::cli
