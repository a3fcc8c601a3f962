#include "microtome/api/circuit.h"

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "microtome/base/file.h"
#include "microtome/base/split.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/example_arguments.h"
#include "microtome/cli/output.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr uint64_t kMostFileBytes = uint64_t{256} << 20;
constexpr size_t kEdgesShown = 20;

std::string figure(const Json& result, const char* name, const char* format = "{:.4f}") {
  const auto it = result.find(name);
  return it == result.end() || !it->is_number() ? "-" : fmt::format(fmt::runtime(format), it->get<double>());
}

std::string curve_text(const Json& result) {
  Table table({{"share", Align::kRight},
               {"edges", Align::kRight},
               {"faithfulness", Align::kRight},
               {"95 %", Align::kRight},
               {"random", Align::kRight}});
  for (const Json& p : result["faithfulness"])
    table.row({figure(p, "k", "{:.3f}"), std::to_string(p["edges"].get<int64_t>()), figure(p, "f", "{:.3f}"),
               figure(p, "low", "{:.3f}") + " to " + figure(p, "high", "{:.3f}"), figure(p, "random", "{:.3f}")});
  return table.text(terminal_columns());
}

std::string edges_text(const Json& result) {
  Table table({{"from"}, {"to"}, {"score", Align::kRight}, {"exact", Align::kRight}});
  for (size_t i = 0; i < std::min(kEdgesShown, result["edges"].size()); ++i) {
    const Json& e = result["edges"][i];
    table.row({e["from"], e["to"], figure(e, "score", "{:+.5f}"), figure(e, "exact", "{:+.5f}")});
  }
  std::string out = table.text(terminal_columns());
  if (result["edges"].size() > kEdgesShown) out += fmt::format("... {} more\n", result["edges"].size() - kEdgesShown);
  return out;
}

std::string circuit_text(const Json& r) {
  std::string out =
      fmt::format("{} on {}, {} prompts, {} ablation, {}: {} edges of {}, {} nodes\n", r["metric"].get<std::string>(),
                  r["task"].get<std::string>(), r["prompts"].get<int64_t>(), r["ablation"].get<std::string>(),
                  r["compute"].get<std::string>(), r["edges"].size(), r["n_edges"].get<int64_t>(), r["nodes"].size());
  if (r.contains("ig_gap") && r["ig_gap"].is_number())
    out += fmt::format("completeness gap of the integral {:.2f} %\n", 100 * r["ig_gap"].get<double>());
  if (r.contains("refined") && r["refined"].is_object())
    out += fmt::format("exact effects of {} top and {} random other edges: cosine with the scores {}, missed {}\n",
                       figure(r["refined"], "edges", "{:.0f}"), figure(r["refined"], "sampled", "{:.0f}"),
                       figure(r["refined"], "cosine"), figure(r["refined"], "missed"));
  if (r.contains("ilp"))
    out += fmt::format("integer program: total |score| {}, at most {} is possible (gap {:.3f} %)\n", figure(r["ilp"], "value"),
                       figure(r["ilp"], "bound"), 100 * r["ilp"]["gap"].get<double>());
  if (r.contains("acdc"))
    out +=
        fmt::format("ACDC: {} edges tried, {} decided by runs, {} circuits run; {} {} at the end\n",
                    r["acdc"]["candidates"].get<int64_t>(), r["acdc"]["tested"].get<int64_t>(),
                    r["acdc"]["circuits_run"].get<int64_t>(), r["acdc"]["metric"].get<std::string>(), figure(r["acdc"], "value"));
  out += "\n" + edges_text(r);
  if (!r.contains("faithfulness") || !r["faithfulness"].is_array()) return out;
  out += fmt::format("\nfaithfulness {} ({} to {})   completeness gap {}   minimality {}   KL {} nats\n",
                     figure(r, "f", "{:.3f}"), figure(r, "f_low", "{:.3f}"), figure(r, "f_high", "{:.3f}"),
                     figure(r, "completeness", "{:.3f}"), figure(r, "minimality", "{:.5f}"), figure(r, "kl"));
  out += fmt::format("CPR {} ({} to {})   CMD {} ({} to {})\n\n", figure(r, "cpr", "{:.3f}"), figure(r, "cpr_low", "{:.3f}"),
                     figure(r, "cpr_high", "{:.3f}"), figure(r, "cmd", "{:.3f}"), figure(r, "cmd_low", "{:.3f}"),
                     figure(r, "cmd_high", "{:.3f}"));
  out += curve_text(r);
  if (!r.contains("computes")) return out;
  Table table(
      {{"compute"}, {"full", Align::kRight}, {"empty", Align::kRight}, {"faithfulness", Align::kRight}, {"KL", Align::kRight}});
  for (const Json& c : r["computes"])
    table.row({c["compute"], figure(c, "full"), figure(c, "empty"), figure(c, "f"), figure(c, "kl")});
  return out + "\n" + table.text(terminal_columns());
}

std::string run_text(const Json& r) {
  Table table({{"clean"}, {"full", Align::kRight}, {"circuit", Align::kRight}, {"empty", Align::kRight}, {"f", Align::kRight}});
  for (const Json& p : r["prompts"])
    table.row({printable(p["clean"].get<std::string>(), 400), figure(p, "full"), figure(p, "circuit"), figure(p, "empty"),
               figure(p, "f", "{:.3f}")});
  return table.text(terminal_columns()) + fmt::format("\nmean: full {}, circuit {}, empty {}; faithfulness {} ({} to {})\n",
                                                      figure(r, "full"), figure(r, "circuit"), figure(r, "empty"),
                                                      figure(r, "f", "{:.3f}"), figure(r, "f_low", "{:.3f}"),
                                                      figure(r, "f_high", "{:.3f}"));
}

class CircuitCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    options.positional("VERB", "find | run | eval | export", verb_, true, OptionSet::Value::kText);
    options.positional("CIRCUIT", "run, eval, export: the file that find wrote; also EAP-IG's graph JSON, auto-circuit's edges",
                       file_, false, OptionSet::Value::kFile);
    examples_.declare(options);
    options.group("Scores (find)");
    options.choice("--method", {"eap", "eap-ig", "eap-ig-activations", "clean-corrupted", "atp", "acdc", "exact"},
                   "how edges are scored (default eap-ig)", method_);
    options.integer("--steps", "M", "nodes of the integral (default: 5, doubled until the gap is below 1 %)", steps_, 1, 1024);
    options.choice("--rule", {"left", "midpoint", "gauss"}, "where its nodes lie (default midpoint)", rule_);
    options.flag("--positions", "resolve edges by the roles of positions (a task's names, or each position)", positions_);
    options.integer("--refine", "N", "patch the N top edges exactly, and N random rejected ones", refine_, 1, 1'000'000);
    options.group("Selection (find)");
    options.choice("--select", {"top", "threshold", "greedy", "bootstrap", "ilp"}, "which edges make the circuit (default top)",
                   select_);
    options.integer("--edges", "N", "how many (default: a hundredth of all)", edges_, 1, int64_t{1} << 40);
    options.integer("--nodes", "N", "as many edges as leave N nodes; with --method atp, the nodes", nodes_, 1, int64_t{1} << 40);
    options.text("--tau", "X",
                 "with --select threshold: the least size of a score; with --method acdc: what an edge must cost (.0575)", tau_);
    options.number("--time-limit", "S", "with --select ilp: seconds (default 30)", time_limit_, 1e-3, 3600);
    options.flag("--signed", "by score, not by its size", by_sign_);
    options.group("Export");
    options.choice("--format", {"neuronpedia", "eap-ig", "auto-circuit"}, "of export (default neuronpedia)", format_);
    options.group("Measures");
    options.text("--ablate", "K", "resample, zero, mean or mean-position (default resample, or the circuit's own)", ablate_);
    options.text("--metric", "M", "logit-diff, prob-diff, kl or loss (default: the task's own, or the circuit's)", metric_);
    options.integer("--random", "N", "random circuits of equal size at each point of the curve (default 3)", random_, 0, 100);
    options.flag("--no-measure", "find only: no faithfulness curve", no_measure_);
    options.number("--memory", "GB", "memory beside the model (default 1)", memory_gb_, 1e-3, 1024);
    output_.declare(options, "write the circuit here; exact effects are kept beside it, so that the same command goes on");
    options.group("Machine");
    options.integer("--threads", "N", "threads (default: MICROTOME_THREADS, else the processors)", model_.threads, 1, 1024);
    options.text("--compute", "f32|bf16|native", "eval: several, with commas (default f32)", computes_);
    options.integer("--seed", "S", "of prompts, draws and random circuits (default 0)", model_.seed, 0, int64_t{1} << 53);
    options.example("microtome circuit smollm2-135m find --task ioi --n 8 --edges 500 --out ioi.json");
    options.example("microtome circuit smollm2-135m run ioi.json --task ioi --n 4 --seed 1");
    options.example("microtome circuit smollm2-135m eval ioi.json --compute f32,bf16,native");
    options.example("microtome circuit smollm2-135m find --task ioi --positions --method eap --refine 100 --json");
    options.example("microtome circuit ./attn-only-2l find --pairs pairs.jsonl --method acdc --tau 0.01");
    options.example("microtome circuit smollm2-135m export ioi.json --format eap-ig --out theirs.json");
    options.example(
        "microtome circuit smollm2-135m find --clean 'The capital of Portugal is the city of' --corrupted 'The capital of France "
        "is "
        "the city of' --answer ' Lisbon' --wrong ' Paris'");
  }

  void run() override {
    check_writable(output_.out);
    options_ = api::circuit_options(request());
    options_.examples = examples_.read(model_.seed);
    options_.seed = static_cast<uint64_t>(model_.seed);
    read_file_option();
    const std::vector<std::string> computes = split(computes_.value_or("f32"));
    if (computes.size() > 1 && options_.verb != "eval")
      throw Error(ErrorKind::kInvalidArgument, "--compute {}: several only with eval", printable(*computes_));
    for (const std::string& c : computes) {
      if (c != "f32" && c != "bf16" && c != "native")
        throw Error(ErrorKind::kInvalidArgument, "--compute \"{}\": expected f32, bf16 or native", printable(c));
    }
    Json result;
    for (const std::string& c : computes) {
      Json one = run_in(c);
      if (result.is_null()) result = one;
      if (computes.size() > 1)
        result["computes"].push_back({{"compute", c},
                                      {"full", one["full"]},
                                      {"empty", one["empty"]},
                                      {"f", one["f"]},
                                      {"low", one["f_low"]},
                                      {"high", one["f_high"]},
                                      {"completeness", one["completeness"]},
                                      {"minimality", one["minimality"]},
                                      {"kl", one["kl"]},
                                      {"cpr", one["cpr"]},
                                      {"cmd", one["cmd"]}});
    }
    write(result);
    if (!options_.state.empty()) std::filesystem::remove(options_.state);
  }

 private:
  // The options that were given, as a request has them: what the verb does not use is refused in one place.
  Json request() const {
    Json r{{"verb", verb_}};
    const auto text = [&](const char* name, const std::string& value) {
      if (!value.empty()) r[name] = value;
    };
    const auto count = [&](const char* name, int64_t value, int64_t unset = 0) {
      if (value != unset) r[name] = value;
    };
    text("method", method_), text("rule", rule_), text("select", select_), text("format", format_);
    count("steps", steps_), count("refine", refine_), count("edges", edges_), count("nodes", nodes_);
    count("random", random_, -1);
    if (positions_) r["positions"] = true;
    if (by_sign_) r["signed"] = true;
    if (no_measure_) r["measure"] = false;
    if (ablate_) r["ablate"] = *ablate_;
    if (metric_) r["metric"] = *metric_;
    if (tau_) r["tau"] = parse_number(*tau_, "--tau", 0, 1e30);
    if (time_limit_ > 0) r["time-limit"] = time_limit_;
    if (memory_gb_ > 0) r["memory"] = memory_gb_;
    return r;
  }

  void read_file_option() {
    const bool reads = options_.verb != "find";
    if (reads && file_.empty())
      throw Error(ErrorKind::kInvalidArgument, "circuit {} needs the file that `microtome circuit MODEL find --out F` wrote",
                  options_.verb);
    if (!reads && !file_.empty())
      throw Error(ErrorKind::kInvalidArgument, "circuit find takes no file (\"{}\"); name the one to write with --out",
                  printable(file_));
    if (!reads) {
      if (output_.out && *output_.out != "-") options_.state = *output_.out + ".partial";
      return;
    }
    options_.where = file_;
    const std::string text =
        file_ == "-" ? microtome::read_file(file_, kMostFileBytes) : read_regular_file(file_, kMostFileBytes);
    const size_t first = text.find_first_not_of(" \t\r\n");
    const bool json = first == std::string::npos || text[first] == '{' || text[first] == '[';
    options_.circuit = std::make_shared<Json>(json ? parse_json(text, file_) : Json(text));
  }

  Json run_in(const std::string& compute) {
    model_.compute = compute;
    LoadedModel loaded = model_.load(output_.quiet);
    Json result = api::circuit(loaded.context(), options_);
    if (!output_.quiet && options_.verb != "export")
      for (const Json& w : result["warnings"])  // once, though several computes may give it
        if (warned_.insert(w.get<std::string>()).second)
          std::fprintf(stderr, "microtome: %s\n", inert(w.get<std::string>()).c_str());
    return result;
  }

  // A circuit that goes to a file is JSON; what a person reads is shown beside it.
  void write(const Json& result) {
    if (options_.verb == "export") {
      Output out(output_.out);
      out.json(result);
      return out.finish();
    }
    const std::string shown = options_.verb == "run" ? run_text(result) : circuit_text(result);
    Output out(output_.out);
    const bool to_file = output_.out && *output_.out != "-";
    if (output_.json || to_file) out.json(result);
    else out.write(shown);
    out.finish();
    if (!to_file || output_.json || output_.quiet) return;
    Output screen;
    screen.write(shown);
    screen.finish();
  }

  ModelArguments model_;
  ExampleArguments examples_;
  OutputArguments output_;
  api::CircuitOptions options_;
  // As given; empty, 0 (random: -1) or false where they are not.
  std::string verb_, file_, method_, rule_, select_, format_;
  std::optional<std::string> ablate_, metric_, tau_, computes_;
  int64_t steps_ = 0, refine_ = 0, edges_ = 0, nodes_ = 0, random_ = -1;
  double time_limit_ = 0, memory_gb_ = 0;
  bool positions_ = false, by_sign_ = false, no_measure_ = false;
  std::set<std::string> warned_;
};

}  // namespace

std::unique_ptr<Command> make_circuit() { return std::make_unique<CircuitCommand>(); }

}  // namespace microtome::cli
