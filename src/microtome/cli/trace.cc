#include <iostream>
#include <nlohmann/json.hpp>

#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/named_arrays.h"
#include "microtome/cli/output.h"

namespace microtome::cli {
namespace {

class TraceCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare(options);
    options.group("What to write");
    options.texts("--sites", "P[,P..]", "sites by name, glob or short form", sites_);
    options.flag("--grad", "also the loss and its gradient at each of these sites", grad_);
    options.flag("--param-grad", "also the loss and its gradient for every tensor of the checkpoint", param_grad_);
    edits_.declare(options);
    output_.declare(options, "the npz file to write");
    model_.declare_machine(options);
    options.example(
        "microtome trace smollm2-135m --prompt 'When Mary and John' --sites 'blocks.*.hook_resid_post' --out trace.npz");
    options.example("microtome trace smollm2-135m --file poem.txt --sites 'pattern*,logits' --out trace.npz");
    options.example("microtome trace smollm2-135m --prompt 'one two' --sites resid_mid --grad --param-grad --out grad.npz");
  }

  void run() override {
    if (!output_.out)
      throw Error(ErrorKind::kInvalidArgument, "--out is missing: name the npz file to write, as in --out trace.npz");
    check_writable(output_.out);
    api::TraceOptions options{.input = input_.read(),
                              .edits = edits_.read(output_.quiet),
                              .sites = split_sites(sites_),
                              .grad = grad_,
                              .param_grad = param_grad_};
    LoadedModel loaded = model_.load(output_.quiet);
    const std::vector<api::NamedArray> arrays = api::trace(loaded.context(), options);
    write_npz_output(*output_.out, arrays);
    report_arrays(*output_.out, model_.model, arrays, output_.json, output_.quiet);
  }

 private:
  ModelArguments model_;
  InputArguments input_;
  EditArguments edits_;
  OutputArguments output_;
  std::vector<std::string> sites_;
  bool grad_ = false, param_grad_ = false;
};

}  // namespace

std::unique_ptr<Command> make_trace() { return std::make_unique<TraceCommand>(); }

}  // namespace microtome::cli
