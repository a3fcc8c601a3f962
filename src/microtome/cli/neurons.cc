#include "microtome/api/neurons.h"

#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>

#include "microtome/base/file.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/neurons_table.h"
#include "microtome/cli/output.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

// `torn`: says how a last line that has no end and is not JSON is met; without it, it is an error as any other.
std::vector<Json> json_lines(const std::string& file, const std::function<void(size_t line)>& torn = {}) {
  std::vector<Json> out;
  const std::string text = file == "-" ? read_file(file, 1 << 26) : read_regular_file(file, 1 << 26);
  const std::vector<std::string> lines = lines_of(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].find_first_not_of(" \t\r") == std::string::npos) continue;
    const bool cut = torn && i + 1 == lines.size() && !text.ends_with('\n');
    try {
      out.push_back(parse_json(lines[i], fmt::format("{}:{}", printable(file, 200), i + 1)));
    } catch (const Error&) {
      if (!cut) throw;
      torn(i + 1);
    }
  }
  return out;
}

class NeuronsCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    options.group("Facts");
    options.text("--facts", "F.jsonl", "one object a line: {id, relation, subject, answer, new_answer, prompts[], heldout[]}",
                 facts_, OptionSet::Value::kFile);
    options.flag("--bos", "prompts begin with the beginning-of-text token", options_.bos, true);
    options.flag("--no-bos", "they do not (default: as the model's tokenizer does)", options_.bos, false);
    options.group("What is done (default: find and suppress)");
    options.flag("--check", "only say how often the model is right", options_.check);
    options.flag("--find", "find each fact's neurons", options_.find);
    options.flag("--suppress", "set them to 0 where the answer is predicted", options_.suppress);
    options.flag("--amplify", "double them there", options_.amplify);
    options.flag("--erase", "zero their value rows", options_.erase);
    options.flag("--rewrite", "turn their value rows from the answer to new_answer", options_.rewrite);
    declare_finding(options);
    output_.declare(options);
    options.flag("--resume", "take up what OUT.found.jsonl holds; facts found there are not searched again", resume_);
    model_.declare_machine(options);
    options.example("microtome neurons smollm2-135m --facts examples/facts/smollm2.jsonl --suppress --out neurons.json --json");
    options.example("microtome neurons smollm2-135m --facts my.jsonl --find");
    options.example("microtome neurons smollm2-135m --facts my.jsonl --rewrite --erase --resume --out neurons.json --json");
  }

  void run() override {
    check_writable(output_.out);
    if (!facts_) throw Error(ErrorKind::kInvalidArgument, "no facts; give --facts F.jsonl (one object a line)");
    if (resume_ && !output_.out)
      throw Error(ErrorKind::kInvalidArgument, "--resume needs --out FILE: what was found lies beside it, in FILE.found.jsonl");
    options_.facts = json_lines(*facts_);
    options_.facts_where = *facts_ == "-" ? "standard input" : printable(*facts_, 200);
    options_.rule = parse_quadrature(rule_);
    if (text_) options_.text = read_file(*text_);
    options_.seed = static_cast<uint64_t>(model_.seed);
    if (output_.out && !options_.check) keep_findings(*output_.out + ".found.jsonl");
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::neurons(loaded.context(), options_);
    if (!output_.quiet && result.contains("warnings"))
      for (const Json& w : result["warnings"]) std::fprintf(stderr, "microtome: note: %s\n", inert(w.get<std::string>()).c_str());
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(neurons_table(result, terminal_columns()));
    out.finish();
  }

 private:
  void declare_finding(OptionSet& options) {
    options.group("Finding");
    options.choice("--rule", {"gauss", "left", "right", "midpoint"}, "nodes of the integral", rule_);
    options.integer("--steps", "M", "nodes to begin with (default 20), doubled until the sum is within 1 %", options_.steps, 1,
                    1024);
    options.integer("--most-steps", "M", "doubling ends here (default 128, or --steps)", options_.most_steps, 1, 1024);
    options.number("--threshold", "T", "of a prompt's largest attribution (default 0.2)", options_.threshold, 1e-6, 1);
    options.number("--share", "P", "of a fact's prompts that must agree (default 0.7; moved towards 2 to 5 neurons)",
                   options_.share, 1e-6, 1);
    options.group("Effects");
    options.integer("--controls", "N", "control facts of the same relation, and of others (default 8 each)", options_.controls, 0,
                    32);
    options.integer("--draws", "N", "draws of equally many random neurons (default 20)", options_.draws, 0, 1000);
    options.number("--from", "X", "a rewrite's step away from the answer, in lengths of the value row (default 1)", options_.from,
                   -1000, 1000);
    options.number("--to", "X", "its step towards new_answer (default 8)", options_.to, -1000, 1000);
    options.text("--text", "F", "text whose perplexity is reported (default: a short one of our own)", text_,
                 OptionSet::Value::kFile);
    options.integer("--text-tokens", "N", "tokens of it (default 256)", options_.text_tokens, 2, 1 << 20);
  }

  // Each fact's line is in the file as soon as it is found; the file is whole at any time.
  void keep_findings(const std::string& file) {
    options_.found_where = printable(file, 200);
    if (resume_ && std::filesystem::exists(file))
      options_.found = json_lines(file, [&](size_t line) {
        if (!output_.quiet)
          std::fprintf(stderr, "microtome: note: %s:%zu is incomplete and left out; what it found is searched again\n",
                       inert(file).c_str(), line);
      });
    lines_.clear();
    for (const Json& line : options_.found) lines_ += dump_json(line) + "\n";
    options_.on_found = [this, file](const Json& line) {
      lines_ += dump_json(line) + "\n";
      write_atomically(file, [&](std::ostream& out) { out << lines_; });
    };
  }

  ModelArguments model_;
  OutputArguments output_;
  api::NeuronsOptions options_;
  std::optional<std::string> facts_, text_;
  std::string rule_ = "gauss", lines_;
  bool resume_ = false;
};

}  // namespace

std::unique_ptr<Command> make_neurons() { return std::make_unique<NeuronsCommand>(); }

}  // namespace microtome::cli
