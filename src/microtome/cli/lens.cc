#include <cstdio>
#include <nlohmann/json.hpp>

#include "microtome/api/lens_picture.h"
#include "microtome/base/file.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/lens_table.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

class LensCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare(options);
    options.group("Lens");
    options.text("--positions", "last|all|i,j", "positions to look at; negative ones count from the end (default all)",
                 positions_);
    options.integer("--top", "K", "most probable tokens in each cell (default 5)", options_.top, 0, 1 << 20);
    options.text("--target", "TOKEN|next|final",
                 "a token to follow: its text or #id, each position's next, or the model's own answer", options_.target);
    options.flag("--all-points", "also after each attention", options_.all_points);
    options.text("--tuned", "FILE", "look through a tuned lens (`microtome train lens`), beside the logit lens", tuned_,
                 OptionSet::Value::kFile);
    options.text("--jacobian", "FILE", "look through a Jacobian lens: of `train lens`, or a published .pt file", jacobian_,
                 OptionSet::Value::kFile);
    options.integer("--decompose", "K", "write each state as a sum of at most K lens vectors (in --json)", options_.decompose, 0,
                    100);
    edits_.declare(options);
    options.group("Pictures");
    options.text("--svg", "F", "write the map as an SVG image", svg_, OptionSet::Value::kFile);
    options.text("--html", "F", "write the map as a page that needs nothing else", html_, OptionSet::Value::kFile);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome lens smollm2-135m --prompt 'The capital of Portugal is the city of'");
    options.example(
        "microtome lens smollm2-135m --prompt 'The capital of Portugal is the city of' --positions last --target ' Lisbon'");
    options.example("microtome lens smollm2-135m --file poem.txt --svg poem.svg --html poem.html --quiet");
    options.example("microtome lens smollm2-135m --prompt 'The capital of Portugal is' --jacobian jacobian/lens.safetensors");
    options.example("microtome lens smollm2-135m --prompt 'One, two, three,' --edit 'blocks.5.attn.hook_z,head=3=zero' --json");
  }

  void run() override {
    for (const auto* file : {&output_.out, &svg_, &html_}) check_writable(*file);
    options_.input = input_.read();
    options_.edits = edits_.read(true);  // the result has their warnings too
    options_.positions = positions_.value_or("all");
    if (tuned_) set_lens(options_, LensKind::kTuned, *tuned_, api::open_lens(*tuned_));
    if (jacobian_) set_lens(options_, LensKind::kJacobian, *jacobian_, api::open_lens(*jacobian_));
    if ((svg_ || html_) && prompt_count(options_.input) != 1)
      throw Error(ErrorKind::kInvalidArgument, "--svg and --html show one prompt, the input has {}; give one",
                  prompt_count(options_.input));
    LoadedModel loaded = model_.load(output_.quiet);
    const std::vector<Json> results = api::lens(loaded.context(), options_);
    if (results[0].contains("warnings") && !output_.quiet)
      for (const Json& w : results[0]["warnings"]) std::fprintf(stderr, "microtome: %s\n", inert(w.get<std::string>()).c_str());
    write_picture(svg_, api::lens_svg, results[0]);
    write_picture(html_, api::lens_html, results[0]);
    Output out(output_.out);
    const bool json = output_.json || results.size() > 1;
    for (const Json& result : results) {
      if (json) out.json(result);
      else out.write(lens_table(result, terminal_columns(), out.is_terminal() && colour_wanted()) + layers_table(result));
    }
    out.finish();
  }

 private:
  void write_picture(const std::optional<std::string>& file, std::string (*picture)(const Json&), const Json& result) const {
    if (!file) return;
    const std::string text = picture(result);
    write_atomically(*file, [&](std::ostream& out) { out << text; });
    if (!output_.quiet) std::fprintf(stderr, "%s: %zu bytes\n", inert(*file).c_str(), text.size());
  }

  ModelArguments model_;
  InputArguments input_;
  EditArguments edits_;
  OutputArguments output_;
  api::LensCommandOptions options_;
  // KL to the model's own answer, layer by layer, beside the logit lens; only with a fitted lens.
  static std::string layers_table(const Json& result) {
    if (!result.contains("layers")) return {};
    Table t({{"layer", Align::kRight}, {"KL, this lens", Align::kRight}, {"KL, logit lens", Align::kRight}});
    for (const Json& l : result["layers"])
      t.row({fmt::format("{}", l["layer"].get<int64_t>()), fmt::format("{:.4f}", l["kl"].get<double>()),
             fmt::format("{:.4f}", l["kl_logit_lens"].get<double>())});
    return fmt::format("\n{} lens, mean KL to the model's own answer at these positions, nats\n\n{}",
                       result["lens"]["kind"].get<std::string>(), t.text(terminal_columns()));
  }

  std::optional<std::string> positions_, svg_, html_, tuned_, jacobian_;
};

}  // namespace

std::unique_ptr<Command> make_lens() { return std::make_unique<LensCommand>(); }

}  // namespace microtome::cli
