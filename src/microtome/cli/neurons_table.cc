#include "microtome/cli/neurons_table.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

// +31.2 %, or a dash.
std::string percent(const Json& x) { return x.is_number() ? fmt::format("{:+.1f} %", 100 * x.get<double>()) : "-"; }

std::string share(const Json& x) { return x.is_number() ? fmt::format("{:.0f} %", 100 * x.get<double>()) : "-"; }

std::string neuron_list(const Json& neurons) {
  std::string out;
  for (const Json& n : neurons)
    out += fmt::format("{}L{}.{} ({:.3f})", out.empty() ? "" : ", ", n["layer"].get<int>(), n["index"].get<int>(),
                       n["score"].get<double>());
  return out.empty() ? "none" : out;
}

std::string check_table(const Json& result, int columns) {
  Table table({{"fact"}, {"answer"}, {"right", Align::kRight}, {"held out", Align::kRight}, {"prompt"}});
  const auto right = [](const Json& rows) {
    int n = 0;
    for (const Json& r : rows) n += r["right"].get<bool>();
    return fmt::format("{}/{}", n, rows.size());
  };
  for (const Json& f : result["facts"])
    table.row({inert(f["id"].get<std::string>()), inert(f["answer"].get<std::string>()), right(f["prompts"]), right(f["heldout"]),
               inert(f["prompt"].get<std::string>())});
  return table.text(columns);
}

std::string fact_table(const Json& result, int columns) {
  const bool effects = !result["operations"].empty();
  std::vector<Table::Column> head{{"fact"}, {"answer"}, {"right", Align::kRight}};
  if (effects)
    for (const char* name : {"target", "held out", "controls", "random"}) head.push_back({name, Align::kRight});
  head.push_back({"neurons (mean attribution)"});
  Table table(head);
  for (const Json& f : result["facts"]) {
    std::vector<std::string> row{inert(f["id"].get<std::string>()), inert(f["answer"].get<std::string>()),
                                 fmt::format("{}/{}", f["right"].get<int>(), f["prompts"].get<int>())};
    const Json& e = f["effect"];
    if (effects)
      for (const char* name : {"target", "paraphrases", "controls", "random"})
        row.push_back(e.is_null() ? "-" : percent(e[name]));
    row.push_back(neuron_list(f["neurons"]));
    table.row(std::move(row));
  }
  return table.text(columns);
}

}  // namespace

std::string neurons_table(const Json& result, int columns) {
  if (!result.contains("operations")) return check_table(result, columns);
  std::string out = fact_table(result, columns);
  if (!result["hubs"].empty()) {
    Table table({{"hub"}, {"facts", Align::kRight}, {"of other relations", Align::kRight}, {"of the same", Align::kRight}});
    for (const Json& h : result["hubs"])
      table.row({fmt::format("L{}.{}", h["layer"].get<int>(), h["index"].get<int>()), fmt::format("{}", h["facts"].get<int>()),
                 share(h["unrelated"]), share(h["same_relation"])});
    out += "\nNeurons that many facts share (removed):\n" + table.text(columns);
  }
  if (!result["operations"].empty()) {
    Table table({{"mean over facts"},
                 {"facts", Align::kRight},
                 {"target", Align::kRight},
                 {"held out", Align::kRight},
                 {"controls", Align::kRight},
                 {"random", Align::kRight},
                 {"most active", Align::kRight},
                 {"locality", Align::kRight},
                 {"perplexity", Align::kRight},
                 {"flipped, held out", Align::kRight}});
    for (const Json& o : result["operations"])
      table.row({o["operation"].get<std::string>(), fmt::format("{}", o["facts"].get<int>()), percent(o["target"]),
                 percent(o["paraphrases"]), percent(o["controls"]), percent(o["random"]), percent(o["most_active"]),
                 share(o["locality"]),
                 fmt::format(
                     "{:.3f} -> {}", o["perplexity"]["before"].get<double>(),
                     o["perplexity"]["after"].is_number() ? fmt::format("{:.3f}", o["perplexity"]["after"].get<double>()) : "-"),
                 o.contains("flipped") ? share(o["flipped"]) + ", " + share(o["paraphrases_flipped"]) : "-"});
    out += "\n" + table.text(columns) +
           "target, held out, controls, random: relative change of the answer's probability. Per fact: the first operation.\n";
  }
  return out;
}

}  // namespace microtome::cli
