#include "microtome/api/paths.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/visible_text.h"
#include "microtome/cli/arguments.h"
#include "microtome/cli/command.h"
#include "microtome/cli/output.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

struct Bar {
  std::string name;
  double logit;
};

std::string times(const char* text, int64_t n) {
  std::string out;
  for (int64_t i = 0; i < n; ++i) out += text;
  return out;
}

// The largest of `list` as bars left and right of a middle line; what is left out is summed up in a last one.
std::string bars(const Json& list, const char* key, size_t most, int columns) {
  std::vector<Bar> all;
  for (const Json& e : list) all.push_back({e[key].get<std::string>(), e["logit"].get<double>()});
  std::stable_sort(all.begin(), all.end(), [](const Bar& a, const Bar& b) { return std::abs(a.logit) > std::abs(b.logit); });
  if (all.size() > most + 1) {
    Bar rest{fmt::format("{} others", all.size() - most), 0};
    for (size_t i = most; i < all.size(); ++i) rest.logit += all[i].logit;
    all.resize(most);
    all.push_back(rest);
  }
  double top = 1e-12;
  size_t width = 0;
  for (const Bar& b : all) {
    top = std::max(top, std::abs(b.logit));
    width = std::max(width, b.name.size());
  }
  const auto half = std::max<int64_t>(4, (columns - static_cast<int64_t>(width) - 14) / 2);
  std::string out;
  for (const Bar& b : all) {
    const auto n = static_cast<int64_t>(std::llround(std::abs(b.logit) / top * static_cast<double>(half)));
    out += fmt::format("{:<{}} {:>10.4f} ", b.name, width, b.logit);
    out += b.logit < 0 ? times(" ", half - n) + times("▒", n) + "│" : times(" ", half) + "│" + times("█", n);
    out += "\n";
  }
  return out;
}

std::string picture(const Json& r, int columns) {
  const auto quoted = [](const Json& token) { return "\"" + api::visible_text(token["text"].get<std::string>()) + "\""; };
  const std::string what = r["versus"].is_null()
                               ? fmt::format("logit of {}", quoted(r["target"]))
                               : fmt::format("logit of {} less that of {}", quoted(r["target"]), quoted(r["versus"]));
  std::string out = fmt::format("{} at position {}: {:.4f}; the parts add up to {:.4f}\n", what, r["position"].get<int64_t>(),
                                r["logit"].get<double>(), r["total"].get<double>());
  out += "\nwho wrote it (direct logit attribution)\n" + bars(r["components"], "name", 20, columns);
  if (!r["neurons"].empty()) out += "\nneurons\n" + bars(r["neurons"], "name", 10, columns);
  if (r["terms"].empty()) return out;
  out += "\npaths\n" + bars(r["terms"], "path", 20, columns);
  out += "\norder    logit       loss     change\n";
  for (const Json& o : r["orders"]) {
    const auto figure = [&](const char* key) { return o[key].is_null() ? "-" : fmt::format("{:.4f}", o[key].get<double>()); };
    out +=
        fmt::format("{:>5} {:>8} {:>10} {:>10}\n", o["order"].get<int64_t>(), figure("logit"), figure("loss"), figure("change"));
  }
  return out;
}

class PathsCommand : public Command {
 public:
  void declare(OptionSet& options) override {
    model_.declare(options);
    input_.declare(options);
    options.group("Paths");
    options.text("--target", "TOKEN", "whose logit: a token's text or #id (default: the model's most probable)", options_.target);
    options.text("--versus", "TOKEN", "less this one's", options_.versus);
    options.integer("--position", "P", "where it is predicted; negative counts from the end (default -1)", options_.position,
                    -(int64_t{1} << 31), int64_t{1} << 31);
    options.choice("--bias-view", {"folded", "raw"},
                   "value biases count for their layer's bias, or stay with heads (default folded)", bias_view_);
    options.integer("--neurons", "K", "neurons listed (default 20)", options_.neurons, 0, 10'000);
    edits_.declare(options);
    output_.declare(options);
    model_.declare_machine(options);
    options.example("microtome paths smollm2-135m --prompt 'The capital of Portugal is the city of' --target ' Lisbon'");
    options.example(
        "microtome paths smollm2-135m --prompt 'When Mary and John went to the store, John gave a drink to' --target ' Mary' "
        "--versus ' John'");
    options.example("microtome paths ./attn-only-2l --tokens 5,17,3,5 --target '#17' --json");
  }

  void run() override {
    check_writable(output_.out);
    options_.input = input_.read();
    options_.edits = edits_.read(output_.quiet);
    options_.folded = bias_view_ == "folded";
    LoadedModel loaded = model_.load(output_.quiet);
    const std::vector<Json> results = api::paths(loaded.context(), options_);
    Output out(output_.out);
    for (const Json& r : results) {
      if (output_.json || results.size() > 1) out.json(r);
      else out.write(picture(r, terminal_columns()));
    }
    out.finish();
  }

 private:
  ModelArguments model_;
  InputArguments input_;
  EditArguments edits_;
  OutputArguments output_;
  api::PathsOptions options_;
  std::string bias_view_ = "folded";
};

}  // namespace

std::unique_ptr<Command> make_paths() { return std::make_unique<PathsCommand>(); }

}  // namespace microtome::cli
