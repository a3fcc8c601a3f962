#include <nlohmann/json.hpp>

#include "microtome/api/visible_text.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

class TokenizeCommand : public Command {
 public:
  // Weights are not needed: the way to load them that does least.
  TokenizeCommand() { model_.compute = "native"; }

  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare_text(options);
    options.flag("--lines", "each line by itself, without its newline: one JSON line each", lines_);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome tokenize smollm2-135m --prompt 'The capital of Portugal'");
    options.example("microtome tokenize smollm2-135m --file corpus.txt --lines > ids.jsonl");
    options.example("echo -n 'Hi there' | microtome tokenize smollm2-135m --file - --json");
  }

  void run() override {
    check_writable(output_.out);
    const api::InputOptions input = input_.read();
    std::vector<std::string> texts = input.prompts;
    if (input.prompt) texts = lines_ ? lines_of(*input.prompt) : std::vector<std::string>{*input.prompt};
    LoadedModel loaded = model_.load(output_.quiet);
    const api::Context context = loaded.context();
    const bool json = output_.json || lines_ || texts.size() > 1;
    Output out(output_.out);
    for (const std::string& text : texts) {
      context.progress->check();
      const Json result = api::tokenize(context, {.text = text, .bos = input.bos, .chat = input.chat});
      if (json) out.json(result);
      else out.write(table(result));
    }
    out.finish();
  }

 private:
  static std::string table(const Json& result) {
    Table table({{"position", Align::kRight}, {"id", Align::kRight}, {"token"}});
    size_t i = 0;
    for (; i < result["ids"].size(); ++i)
      table.row({fmt::format("{}", i), result["ids"][i].dump(), api::visible_text(result["tokens"][i].get<std::string>())});
    return table.text(terminal_columns()) + fmt::format("{} token{}\n", i, i == 1 ? "" : "s");
  }

  ModelArguments model_;
  InputArguments input_;
  OutputArguments output_;
  bool lines_ = false;
};

}  // namespace

std::unique_ptr<Command> make_tokenize() { return std::make_unique<TokenizeCommand>(); }

}  // namespace microtome::cli
