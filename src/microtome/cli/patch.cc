#include "microtome/api/patch.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "microtome/api/patch_picture.h"
#include "microtome/base/file.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/example_arguments.h"
#include "microtome/cli/output.h"
#include "microtome/cli/patch_table.h"
#include "microtome/cli/terminal.h"
#include "microtome/formats/npy.h"

namespace microtome::cli {
namespace {

Tensor subspace(const std::string& file) {
  const NpyArray array = read_npy(file);
  if (array.shape.empty() || array.shape.size() > 2 || numel(array.shape) == 0)
    throw Error(ErrorKind::kInvalidArgument, "--ablate project:{}: the array is {}, expected rows of a subspace, [k, width]",
                printable(file, 200), shape_text(array.shape));
  return Tensor::from(array.floats(), array.shape);
}

class PatchCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    examples_.declare(options);
    options.group("What is patched");
    options.text("--site", "SITE",
                 "resid_pre, resid_mid, resid_post, attn_out, mlp_out, z, q, k, v, pattern or mlp_post (default resid_pre)",
                 options_.site);
    options.text("--by", "AXES",
                 "layer | layer,pos | layer,head | layer,head,pos | layer,head,dst,src | layer,neuron | head,head (default: "
                 "layer,head or layer,pos)",
                 options_.by);
    options.text("--from", "S", "paths instead of places: senders a5.h1, m5, input, or heads, mlps, all; several with commas",
                 options_.from);
    options.text("--to", "R", "receivers a7.h3<q>, a7.h1<k>, a7.h1<v>, m5, logits; several with commas, joined ones with +",
                 options_.to);
    options.flag("--through-mlps", "paths may pass through MLPs (heads stay frozen), not only along the stream",
                 options_.through_mlps);
    options.text("--layers", "3,7,10:20", "only these layers; likewise --heads, --positions, --sources, --neurons", layers_);
    options.text("--heads", "0,4", "only these heads", heads_);
    options.text("--positions", "9:14", "only these positions (of the pattern: destinations)", positions_);
    options.text("--sources", "0:9", "only these source positions of the pattern", sources_);
    options.text("--neurons", "0:64", "only these neurons", neurons_);
    options.group("How");
    options.text("--direction", "denoise|noise",
                 "clean values into the corrupted run, or corrupted values into the clean run (default denoise; noise with "
                 "--ablate and by head,head)",
                 options_.direction);
    options.text("--ablate", "K[,K...]",
                 "instead of the other run's value: zero, mean, resample, project:F.npy, project-out:F.npy", ablate_);
    options.choice("--method", {"exact", "atp", "atp-star"}, "exact patches, or their linear estimate from one backward pass",
                   options_.method);
    options.flag("--with-exact", "with atp or atp-star: exact patches too, and the correlation", options_.with_exact);
    options.text("--metric", "M", "logit-diff, prob-diff, kl or loss (default: the task's own)", options_.metric);
    options.integer("--top", "N", "by head,head: heads whose pairs are tried (default 16)", top_, 2, 256);
    options.number("--memory", "GB",
                   "memory that the sweep may take beside the model and the values of the base runs (default 1)",
                   options_.memory_gb, 0.01, 1024);
    options.number("--most", "X", "refuse a sweep of more than X e12 multiply-adds (default 20)", options_.most_tmacs, 0, 1e9);
    edits_.declare(options);
    options.group("Pictures");
    options.text("--svg", "F", "write the map as an SVG image", svg_, OptionSet::Value::kFile);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome patch smollm2-135m --task ioi --n 8");
    options.example("microtome patch smollm2-135m --task ioi --site z --by layer,head --direction noise --svg heads.svg");
    options.example(
        "microtome patch smollm2-135m --clean 'The capital of Portugal is the city of' --corrupted 'The capital of France is the "
        "city of' "
        "--answer ' Lisbon' --wrong ' Paris'");
    options.example("microtome patch smollm2-135m --task ioi --site z --by layer,head --ablate zero,mean,resample");
    options.example("microtome patch smollm2-135m --task ioi --from heads --to logits --direction noise");
    options.example("microtome patch smollm2-135m --task ioi --site mlp_post --by layer,neuron --method atp --json");
  }

  void run() override {
    for (const auto* file : {&output_.out, &svg_}) check_writable(*file);
    options_.examples = examples_.read(model_.seed);
    options_.edits = edits_.read(output_.quiet);
    for (const auto& [text, values, name] : {std::tuple{&layers_, &options_.selection.layers, "--layers"},
                                             {&heads_, &options_.selection.heads, "--heads"},
                                             {&positions_, &options_.selection.positions, "--positions"},
                                             {&sources_, &options_.selection.sources, "--sources"},
                                             {&neurons_, &options_.selection.neurons, "--neurons"}})
      if (*text) *values = parse_selection(**text, name);
    if (top_ > 0) options_.top = top_;
    if (ablate_) options_.ablate = api::parse_ablations(*ablate_, subspace);
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::patch(loaded.context(), options_);
    if (!output_.quiet)
      for (const Json& w : result["warnings"]) std::fprintf(stderr, "microtome: %s\n", inert(w.get<std::string>()).c_str());
    if (svg_) {
      const std::string text = api::patch_svg(result);
      write_atomically(*svg_, [&](std::ostream& out) { out << text; });
      if (!output_.quiet) std::fprintf(stderr, "%s: %zu bytes\n", inert(*svg_).c_str(), text.size());
    }
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(patch_table(result, terminal_columns(), out.is_terminal() && colour_wanted()));
    out.finish();
  }

 private:
  ModelArguments model_;
  ExampleArguments examples_;
  EditArguments edits_;
  OutputArguments output_;
  api::PatchOptions options_;
  int64_t top_ = 0;  // 0: absent
  std::optional<std::string> layers_, heads_, positions_, sources_, neurons_, ablate_, svg_;
};

}  // namespace

std::unique_ptr<Command> make_patch() { return std::make_unique<PatchCommand>(); }

}  // namespace microtome::cli
