#include "microtome/api/heads.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "microtome/base/file.h"
#include "microtome/base/split.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/heads_table.h"
#include "microtome/cli/output.h"
#include "microtome/cli/terminal.h"
#include "microtome/formats/npz.h"

namespace microtome::cli {
namespace {

Tensor patterns_of(const std::string& file) {
  const NpzReader npz(file);
  const NpyArray array = npz.read("pattern");
  if (array.shape.size() != 3 || array.shape[1] != array.shape[2] || array.size() == 0)
    throw Error(ErrorKind::kInvalidArgument, "--patterns {}: \"pattern\" is {}, expected [heads, T, T]", printable(file, 200),
                shape_text(array.shape));
  return Tensor::from(array.floats(), array.shape);
}

class HeadsCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare(options);
    options.group("Heads");
    options.text("--detectors", "A[,B...]",
                 "of previous, current, duplicate, induction, sink, copying, name_mover, negative_mover, successor, "
                 "copy_suppression, s_inhibition (default: the first six)",
                 detectors_);
    options.text("--measure", "mul|abs|stripe",
                 "how patterns are scored against a target (default stripe on text that repeats a block, else mul)",
                 options_.measure);
    options.integer("--block", "N", "the text is a block of N tokens, repeated", block_, 1, 1 << 20);
    options.integer("--repeat", "N",
                    "make such a text: the input's first N tokens, or N random ones, said twice (default 60 random)", repeat_, 1,
                    1 << 20);
    options.flag("--exclude-bos", "mul and abs: leave attention to position 0 out", options_.exclude_bos);
    options.flag("--exclude-current", "mul and abs: leave attention to the token itself out", options_.exclude_current);
    options.flag("--entropy", "also the mean entropy of each head's attention", options_.entropy);
    options.text("--patterns", "F.npz", "score patterns from elsewhere: key pattern [H, T, T], with --tokens", patterns_,
                 OptionSet::Value::kFile);
    options.integer("--n", "N", "prompts of the ioi task (default 16)", options_.prompts, 1, 1000);
    options.integer("--suppression-tokens", "N", "tokens that copy_suppression looks at (default 256)", options_.tokens, 1,
                    1 << 20);
    options.group("Causal test");
    options.flag("--verify", "mean-ablate each detector's top heads on its own task, beside random heads", options_.verify);
    options.integer("--top", "N", "heads ablated at most (default 5)", options_.top, 1, 256);
    options.integer("--draws", "N", "draws of as many random heads of the same layers (default 20)", options_.draws, 1, 10000);
    edits_.declare(options);
    options.group("Pictures");
    options.text("--svg", "F", "write the heat maps as an SVG image", svg_, OptionSet::Value::kFile);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome heads smollm2-135m");
    options.example("microtome heads smollm2-135m --detectors induction,previous --verify");
    options.example("microtome heads smollm2-135m --file poem.txt --measure mul --exclude-bos --svg heads.svg");
    options.example("microtome heads smollm2-135m --detectors name_mover,negative_mover,s_inhibition --json");
  }

  void run() override {
    for (const auto* file : {&output_.out, &svg_}) check_writable(*file);
    if (input_.given()) options_.input = input_.read();
    options_.bos = input_.bos();
    options_.edits = edits_.read(output_.quiet);
    if (block_ > 0) options_.block = block_;
    if (repeat_ > 0) options_.repeat = repeat_;
    if (detectors_) options_.detectors = split(*detectors_);
    if (patterns_) options_.patterns = patterns_of(*patterns_);
    options_.seed = static_cast<uint64_t>(model_.seed);
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::heads(loaded.context(), options_);
    if (!output_.quiet)
      for (const Json& w : result["warnings"]) std::fprintf(stderr, "microtome: %s\n", inert(w.get<std::string>()).c_str());
    if (svg_) {
      const std::string text = api::heads_svg(result);
      write_atomically(*svg_, [&](std::ostream& out) { out << text; });
      if (!output_.quiet) std::fprintf(stderr, "%s: %zu bytes\n", inert(*svg_).c_str(), text.size());
    }
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(heads_table(result, terminal_columns(), out.is_terminal() && colour_wanted()));
    out.finish();
  }

 private:
  ModelArguments model_;
  InputArguments input_;
  EditArguments edits_;
  OutputArguments output_;
  api::HeadsOptions options_;
  int64_t block_ = 0, repeat_ = 0;
  std::optional<std::string> detectors_, patterns_, svg_;
};

}  // namespace

std::unique_ptr<Command> make_heads() { return std::make_unique<HeadsCommand>(); }

}  // namespace microtome::cli
