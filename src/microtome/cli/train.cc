#include <nlohmann/json.hpp>

#include "microtome/api/train_lens.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"
#include "microtome/train/documents.h"

namespace microtome::cli {
namespace {

constexpr int64_t kMostTokens = int64_t{1} << 40;

class TrainCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    options.positional("WHAT", "what to train: lens", what_, true, OptionSet::Value::kText);
    model_.declare(options);
    options.choice("--kind", {"tuned", "jacobian"}, "lens: what is fitted (jacobian: a step is a prompt, which takes minutes)",
                   kind_);
    options.group("Text");
    options.text("--text", "PATH", "a .txt or .jsonl file, or a folder of them (or with train and heldout)", text_,
                 OptionSet::Value::kFile);
    options.integer("--tokens", "N", "tokens seen (default: jacobian 12800, 100 prompts; tuned 128000, 500 steps)", lens_.tokens,
                    1, kMostTokens);
    options.integer("--context", "T", "tokens of a window (default 128)", lens_.context, 20, 1 << 20);
    options.integer("--batch", "N", "tuned: positions of a step (default 256)", batch_, 1, 1 << 20);
    options.group("Output");
    options.text("--out", "DIR", "folder of the lens and of the state to go on from (default: lenses/ under MICROTOME_HOME)",
                 out_, OptionSet::Value::kFile);
    options.flag("--resume", "go on with the run in that folder: from its last step if stopped, its last minute if killed",
                 lens_.resume);
    options.text("--export", "F.pt", "jacobian: also write the published file format", export_, OptionSet::Value::kFile);
    options.flag("--json", "print JSON lines, one a step, and the result last", json_);
    options.flag("--quiet", "no progress and no remarks", quiet_);
    model_.declare_machine(options);
    options.example("microtome train lens smollm2-135m --kind jacobian --text speeches.txt");
    options.example("microtome train lens smollm2-135m --kind jacobian --text speeches.txt --tokens 25600 --resume");
    options.example("microtome train lens smollm2-135m --kind tuned --text texts/ --out tuned --json");
  }

  void run() override {
    if (what_ != "lens")
      throw Error(ErrorKind::kInvalidArgument, "train {}: not known; `microtome train lens MODEL` fits a lens", printable(what_));
    if (!text_)
      throw Error(ErrorKind::kInvalidArgument, "no text to train on; give --text PATH (scripts/fetch_text fetches some)");
    lens_.kind = kind_ == "jacobian" ? LensKind::kJacobian : LensKind::kTuned;
    if (export_ && lens_.kind != LensKind::kJacobian)
      throw Error(ErrorKind::kInvalidArgument, "--export: only Jacobian lenses have a published file format");
    if (batch_ > 0 && lens_.kind == LensKind::kJacobian)
      throw Error(ErrorKind::kInvalidArgument, "--batch: belongs to --kind tuned; a Jacobian lens takes one prompt a step");
    if (batch_ > 0) lens_.batch = batch_;
    check_writable(export_);
    if (export_) lens_.export_file = *export_;
    lens_.seed = static_cast<uint64_t>(model_.seed);
    lens_.train = read_documents(*text_, Split::kTrain);
    lens_.heldout = read_documents(*text_, Split::kHeldout);
    LoadedModel loaded = model_.load(quiet_);
    lens_.folder = out_ ? std::filesystem::path(*out_) : api::default_lens_folder(loaded.context(), lens_.kind);
    Output out;
    const Json result = api::train_lens(loaded.context(), lens_, [&](const Json& line) {
      if (!json_) return;
      out.json(line);
      out.flush();
    });
    if (json_) out.json(result);
    else out.write(table(result));
    out.finish();
  }

 private:
  static std::string table(const Json& r) {
    Table t({{"layer", Align::kRight}, {"KL, this lens", Align::kRight}, {"KL, logit lens", Align::kRight}});
    for (const Json& l : r["layers"])
      t.row({fmt::format("{}", l["layer"].get<int64_t>()), fmt::format("{:.4f}", l["kl"].get<double>()),
             fmt::format("{:.4f}", l["kl_logit_lens"].get<double>())});
    return fmt::format("{} lens of {}: {}, {}\nKL to the model's own answer on held-out text, nats\n\n{}",
                       r["kind"].get<std::string>(), inert(r["model"].get<std::string>()), inert(r["path"].get<std::string>()),
                       bytes_text(r["bytes"].get<double>()), t.text(terminal_columns()));
  }

  ModelArguments model_;
  api::TrainLensOptions lens_;
  int64_t batch_ = 0;  // 0: not given
  std::string what_, kind_ = "tuned";
  std::optional<std::string> text_, out_, export_;
  bool json_ = false, quiet_ = false;
};

}  // namespace

std::unique_ptr<Command> make_train() { return std::make_unique<TrainCommand>(); }

}  // namespace microtome::cli
