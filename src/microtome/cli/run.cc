#include <cstdio>
#include <nlohmann/json.hpp>

#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/named_arrays.h"
#include "microtome/cli/output.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr int64_t kMany = 1 << 30;

class RunCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare(options);
    options.group("Generation");
    options.integer("--max-tokens", "N", "new tokens at most (default 64)", options_.max_tokens, 0, kMany);
    options.number("--temperature", "X", "0: always the most probable token (default)", options_.sampling.temperature, 0, 1e6);
    options.integer("--top-k", "K", "draw among the K most probable (default 0: off)", options_.sampling.top_k, 0, kMany);
    options.number("--top-p", "P", "draw among the fewest that have probability P together (default 1)", options_.sampling.top_p,
                   0, 1);
    options.number("--min-p", "P", "draw among those at least P times as probable as the best (default 0)",
                   options_.sampling.min_p, 0, 1);
    options.texts("--stop", "TEXT", "end before this text", options_.stop);
    options.flag("--no-cache", "run the whole text again for every token", no_cache_);
    options.flag("--stream", "with --json: a line for each token as it comes, the result last", stream_);
    edits_.declare(options);
    options.group("Activations");
    options.texts("--sites", "P[,P..]", "keep these sites' values of prompt and new tokens, in the npz file --out", sites_);
    output_.declare(options, "write the result here (with --sites: the npz file)");
    model_.declare_machine(options);
    options.example("microtome run smollm2-135m --chat --prompt 'What is a microtome?' --max-tokens 80");
    options.example("microtome run smollm2-135m --prompt 'Once upon a time' --temperature 0.8 --top-p 0.95 --seed 7");
    options.example("microtome run smollm2-135m --prompt 'I feel' --edit 'blocks.12.hook_resid_post,pos=gen=add:joy.npy*4'");
    options.example("microtome run smollm2-135m --prompt 'One, two,' --sites 'blocks.*.hook_resid_post' --out run.npz");
  }

  void run() override {
    prepare();
    LoadedModel loaded = model_.load(output_.quiet);
    Output out(sites_.empty() ? output_.out : std::nullopt);
    const bool json = output_.json || prompt_count(options_.input) > 1;
    std::function<bool(const Json&)> on_token;
    if (json && stream_) on_token = [&](const Json& token) { return show_json(out, token); };
    if (!json) {
      show_prompt(out);
      on_token = [&](const Json& token) { return show_text(out, token); };
    }
    std::vector<api::NamedArray> activations;
    const std::vector<Json> results = api::run(loaded.context(), options_, on_token, sites_.empty() ? nullptr : &activations);
    for (const Json& result : results) {
      if (json) out.json(result);
      else finish_text(out, result);
    }
    out.finish();
    if (sites_.empty()) return;
    write_npz_output(*output_.out, activations);
    if (!output_.quiet) std::fprintf(stderr, "%s: %zu arrays\n", inert(*output_.out).c_str(), activations.size());
  }

 private:
  void prepare() {
    if (!sites_.empty() && !output_.out)
      throw Error(ErrorKind::kInvalidArgument, "--sites needs --out: name the npz file to write, as in --out run.npz");
    if (!sites_.empty() && *output_.out == "-")
      throw Error(ErrorKind::kInvalidArgument, "--out - holds the text; name a file for --sites");
    check_writable(output_.out);
    options_.input = input_.read();
    options_.edits = edits_.read(output_.quiet);
    options_.sites = split_sites(sites_);
    options_.use_cache = !no_cache_;
    options_.sampling.seed = static_cast<uint64_t>(model_.seed);
    validate(options_.sampling);
    for (const std::string& s : options_.stop)
      if (s.empty()) throw Error(ErrorKind::kInvalidArgument, "--stop is empty: give the text to end before");
  }

  // On a terminal the prompt stands before what the model adds.
  void show_prompt(Output& out) {
    if (!out.is_terminal() || !options_.input.prompt || output_.quiet) return;
    const std::string prompt = inert(*options_.input.prompt);
    out.write(colour_wanted() ? dimmed(prompt) : prompt);
    if (options_.input.chat) out.write("\n");
    out.flush();
  }

  bool show_json(Output& out, const Json& token) {
    out.json(token);
    out.flush();
    return true;
  }

  bool show_text(Output& out, const Json& token) {
    const std::string text = token["text"].get<std::string>();
    shown_ += text.size();
    out.write(out.is_terminal() ? inert(text) : text);
    out.flush();
    return true;
  }

  void finish_text(Output& out, const Json& result) {
    // Tokens show when their characters are whole; the end may hold a rest.
    const std::string text = result["text"].get<std::string>();
    if (text.size() > shown_) out.write(out.is_terminal() ? inert(text.substr(shown_)) : text.substr(shown_));
    if (out.is_terminal() || text.empty() || text.back() != '\n') out.write("\n");
    out.flush();
    if (output_.quiet) return;
    const Json& t = result["timing"];
    std::string line = fmt::format("{} prompt tokens in {:.2f} s, {} new tokens in {:.2f} s", result["prompt_ids"].size(),
                                   t["prompt_s"].get<double>(), result["ids"].size(), t["decode_s"].get<double>());
    if (t["decode_tokens_per_s"].is_number()) line += fmt::format(", {:.1f} tokens/s", t["decode_tokens_per_s"].get<double>());
    std::fprintf(stderr, "%s (%s)\n", line.c_str(), result["finish"].get<std::string>().c_str());
  }

  ModelArguments model_;
  InputArguments input_;
  EditArguments edits_;
  OutputArguments output_;
  api::RunOptions options_;
  std::vector<std::string> sites_;
  bool no_cache_ = false, stream_ = false;
  size_t shown_ = 0;
};

}  // namespace

std::unique_ptr<Command> make_run() { return std::make_unique<RunCommand>(); }

}  // namespace microtome::cli
