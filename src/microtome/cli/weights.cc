#include "microtome/api/weights.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "microtome/base/file.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/terminal.h"
#include "microtome/cli/weights_table.h"

namespace microtome::cli {
namespace {

constexpr int64_t kUnset = -1;

class WeightsCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    std::string verbs;
    for (const char* v : api::weights_verbs()) verbs += (verbs.empty() ? "" : ", ") + std::string(v);
    options.positional("VERB", "one of " + verbs, verb_, true, OptionSet::Value::kText);
    options.group("Which heads");
    options.texts("--heads", "L.H,…", "heads, as in 17.3,17.4 (composition, virtual: at either end)", heads_);
    options.integer("--layer", "L", "one layer", layer_, 0, 100000);
    options.integer("--head", "H", "this head of every layer, or of --layer", head_, 0, 100000);
    options.texts("--from", "L.H,…", "composition, virtual: the earlier head", from_);
    options.texts("--to", "L.H,…", "composition, virtual: the later head", to_);
    options.group("What");
    options.integer("--top", "N", "rows; of each head for pairs and skip-trigrams; 0: all", top_, 0, 10000000);
    options.integer("--offset", "D", "RoPE models: query position - key position (default 0)", offset_, 0, 1 << 24);
    options.text("--embedding", "w_e|effective|mlp0_only",
                 "what stands for a token: W_E (default), the stream after block 0, its MLP", embedding_);
    options.text("--circuit", "ov|qk|in|gate|out", "pairs: ov or qk; svd: also the MLP's matrices (default ov)", circuit_);
    options.text("--kind", "q,k,v", "composition: as query, key, value (default all)", kind_);
    options.texts("--source", "TOKEN", "pairs, bigrams: only this token, its text or #id", sources_);
    options.integer("--per-source", "K",
                    "skip-trigrams: attending and output tokens of each source (default 4); bigrams: at most", per_source_, 0,
                    1000);
    options.integer("--own-top", "K", "copying, matching: also the share of tokens in the top K of their own row", own_top_, 0,
                    1000000);
    options.integer("--directions", "N", "svd: singular directions of each matrix (default 3)", directions_, 1, 100000);
    options.integer("--tokens", "K", "svd, neurons: tokens of each direction (default 10)", tokens_, 0, 1000);
    options.text("--show", "deletion|copying|links", "residual: what it ranks (default deletion)", show_);
    options.integer("--draws", "N", "random heads or pairs of the control (default 100)", draws_, 0, 100000);
    options.group("Pictures");
    options.text("--svg", "F", "copying, matching, virtual: write the spectra as an SVG image", svg_, OptionSet::Value::kFile);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome weights smollm2-135m copying");
    options.example("microtome weights smollm2-135m composition --to 17.3,17.4 --kind k --top 10");
    options.example("microtome weights smollm2-135m matching --heads 17.3 --offset 0 --embedding effective --svg spectrum.svg");
    options.example("microtome weights smollm2-135m pairs --heads 17.3 --top 20 --json");
    options.example("microtome weights smollm2-135m svd --circuit out --layer 20");
  }

  void run() override {
    for (const auto* file : {&output_.out, &svg_}) check_writable(*file);
    const api::WeightsOptions options = api::weights_options(request());
    if (svg_ && verb_ != "copying" && verb_ != "matching" && verb_ != "virtual")
      throw Error(ErrorKind::kInvalidArgument, "--svg draws spectra: copying, matching or virtual, not {}", verb_);
    LoadedModel loaded = model_.load(output_.quiet);
    const Json result = api::weights(loaded.context(), options);
    if (svg_) {
      const std::string text = api::spectra_svg(result);
      write_atomically(*svg_, [&](std::ostream& out) { out << text; });
      if (!output_.quiet) std::fprintf(stderr, "%s: %zu bytes\n", inert(*svg_).c_str(), text.size());
    }
    Output out(output_.out);
    if (output_.json) out.json(result);
    else out.write(weights_table(result, terminal_columns()));
    out.finish();
  }

 private:
  // The options that were given, as a request has them.
  Json request() const {
    Json r{{"verb", verb_}, {"seed", model_.seed}};
    const auto list = [&](const char* name, const std::vector<std::string>& values) {
      if (!values.empty()) r[name] = values;
    };
    const auto number = [&](const char* name, int64_t value) {
      if (value != kUnset) r[name] = value;
    };
    const auto text = [&](const char* name, const std::optional<std::string>& value) {
      if (value) r[name] = *value;
    };
    list("heads", heads_), list("from", from_), list("to", to_), list("source", sources_);
    number("layer", layer_), number("head", head_), number("top", top_), number("offset", offset_);
    number("per-source", per_source_), number("own-top", own_top_), number("directions", directions_);
    number("tokens", tokens_), number("draws", draws_);
    text("embedding", embedding_), text("circuit", circuit_), text("kind", kind_), text("show", show_);
    return r;
  }

  ModelArguments model_;
  OutputArguments output_;
  std::string verb_;
  std::vector<std::string> heads_, from_, to_, sources_;
  int64_t layer_ = kUnset, head_ = kUnset, top_ = kUnset, offset_ = kUnset, per_source_ = kUnset, own_top_ = kUnset,
          directions_ = kUnset, tokens_ = kUnset, draws_ = kUnset;
  std::optional<std::string> embedding_, circuit_, kind_, show_, svg_;
};

}  // namespace

std::unique_ptr<Command> make_weights() { return std::make_unique<WeightsCommand>(); }

}  // namespace microtome::cli
