#include <nlohmann/json.hpp>

#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

class PerplexityCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare(options);
    options.group("Windows");
    options.integer("--context", "N", "tokens in a window (default: the model's context, at most 1024)", context_, 2, 1 << 30);
    options.integer("--stride", "N", "tokens from one window to the next (default: a whole window)", stride_, 1, 1 << 30);
    edits_.declare(options);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome perplexity smollm2-135m --file war_and_peace.txt");
    options.example("microtome perplexity smollm2-135m --file a.txt --context 512 --stride 256 --json");
    options.example("microtome perplexity smollm2-135m --file a.txt --edit blocks.5.hook_attn_out=zero");
  }

  void run() override {
    check_writable(output_.out);
    api::PerplexityOptions options{
        .input = input_.read(), .edits = edits_.read(output_.quiet), .window = context_, .stride = stride_};
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::perplexity(loaded.context(), options);
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(text(result));
    out.finish();
  }

 private:
  static std::string text(const Json& r) {
    std::string out = fmt::format("perplexity  {:.4f}\nloss        {:.5f} nats per token\ntokens      {} scored\n",
                                  r["perplexity"].get<double>(), r["loss"].get<double>(), r["tokens"].get<int64_t>());
    // Positions in doublings: the loss falls with the context seen.
    const Json& positions = r["per_position"];
    Table table({{"position in the window", Align::kRight}, {"mean loss", Align::kRight}});
    for (size_t begin = 0; begin < positions.size();) {
      const size_t end = std::min(positions.size(), std::max<size_t>(begin * 2, 1));
      double sum = 0;
      int n = 0;
      for (size_t i = begin; i < end; ++i)
        if (positions[i].is_number()) {
          sum += positions[i].get<double>();
          ++n;
        }
      const std::string range = end - begin == 1 ? fmt::format("{}", begin + 1) : fmt::format("{}-{}", begin + 1, end);
      table.row({range, n ? fmt::format("{:.4f}", sum / n) : "-"});
      begin = end;
    }
    return out + "\n" + table.text(terminal_columns());
  }

  ModelArguments model_;
  InputArguments input_;
  EditArguments edits_;
  OutputArguments output_;
  int64_t context_ = 0, stride_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_perplexity() { return std::make_unique<PerplexityCommand>(); }

}  // namespace microtome::cli
