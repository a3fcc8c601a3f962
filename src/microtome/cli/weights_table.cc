#include "microtome/cli/weights_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <nlohmann/json.hpp>

#include "microtome/api/visible_text.h"
#include "microtome/cli/table.h"
#include "microtome/cli/terminal.h"

namespace microtome::cli {
namespace {

constexpr size_t kShown = 30;

struct Column {
  const char* name;
  Align align;
  std::function<std::string(const Json&)> cell;
};

std::string figure(const Json& value) { return value.is_number() ? fmt::format("{:.4f}", value.get<double>()) : "-"; }
std::string rough(const Json& value) { return value.is_number() ? fmt::format("{:.4g}", value.get<double>()) : "-"; }
std::string whole(const Json& value) { return value.is_number() ? fmt::format("{}", value.get<int64_t>()) : "-"; }

std::string head_name(const Json& h) { return fmt::format("{}.{}", h["layer"].get<int64_t>(), h["head"].get<int64_t>()); }

std::string token(const Json& t) { return t.is_object() ? api::visible_text(t["text"].get<std::string>()) : "-"; }

std::string token_list(const Json& tokens) {
  std::string out;
  for (const Json& t : tokens) out += (out.empty() ? "" : " │ ") + token(t);
  return out;
}

Column number(const char* name, const char* field) {
  return {name, Align::kRight, [field](const Json& r) { return r.contains(field) ? figure(r[field]) : "-"; }};
}
Column scaled(const char* name, const char* field) {
  return {name, Align::kRight, [field](const Json& r) { return r.contains(field) ? rough(r[field]) : "-"; }};
}
Column words(const char* name, const char* field) {
  return {name, Align::kLeft,
          [field](const Json& r) { return r[field].is_string() ? r[field].get<std::string>() : whole(r[field]); }};
}
Column token_column(const char* name, const char* field) {
  return {name, Align::kLeft, [field](const Json& r) { return token(r[field]); }};
}
Column tokens_column(const char* name, const char* field) {
  return {name, Align::kLeft, [field](const Json& r) { return token_list(r[field]); }};
}
Column head_column(const char* name = "head") {
  return {name, Align::kRight, [](const Json& r) { return r["head"].is_null() ? whole(r["layer"]) : head_name(r); }};
}
Column end_column(const char* field) {
  return {field, Align::kRight, [field](const Json& r) { return head_name(r[field]); }};
}
Column link_column(const char* field) {
  return {field, Align::kLeft, [field](const Json& r) {
            return fmt::format("{} {}", whole(r[field]["layer"]), r[field]["matrix"].get<std::string>());
          }};
}

std::vector<Column> residual_columns(const Json& rows) {
  if (!rows.empty() && rows[0]["kind"] == "link")
    return {link_column("from"),
            link_column("to"),
            number("rms cosine", "score"),
            number("random", "baseline"),
            {"strongest pair", Align::kLeft, [](const Json& r) {
               return fmt::format("{:+.3f} ({} → {})", r["extreme"]["cosine"].get<double>(), whole(r["extreme"]["from_index"]),
                                  whole(r["extreme"]["to_index"]));
             }}};
  return {{"part", Align::kLeft,
           [](const Json& r) {
             return r["kind"] == "head" ? "head " + head_name(r)
                                        : fmt::format("neuron {}.{}", whole(r["layer"]), whole(r["neuron"]));
           }},
          number("score", "score"),
          number("cos gate", "cos_gate"),
          {"nearest λ", Align::kRight, [](const Json& r) {
             if (!r.contains("nearest")) return std::string("-");
             return fmt::format("{:.3f}{:+.3f}i", r["nearest"][0].get<double>(), r["nearest"][1].get<double>());
           }}};
}

std::vector<Column> columns_of(const std::string& verb, const Json& rows) {
  if (verb == "copying" || verb == "matching") {
    std::vector<Column> out{head_column(), number("score", "score"), scaled("Σ|λ|", "magnitude"), scaled("trace", "trace")};
    if (!rows.empty() && rows[0].contains("own_share")) out.push_back(number("own in top", "own_share"));
    return out;
  }
  if (verb == "composition")
    return {end_column("from"),
            end_column("to"),
            words("kind", "kind"),
            number("score", "score"),
            number("baseline", "baseline"),
            number("sd", "baseline_sd"),
            number("excess", "excess")};
  if (verb == "virtual")
    return {
        end_column("from"),           end_column("to"),           number("composition", "score"), number("baseline", "baseline"),
        number("copying", "copying"), scaled("Σ|λ|", "magnitude")};
  if (verb == "induction")
    return {head_column(),
            number("key matching", "score"),
            number("OV copying", "copying"),
            {"QK trace", Align::kRight, [](const Json& r) { return rough(r["qk_trace"]); }},
            end_column("via"),
            number("K-composition", "composition"),
            number("previous", "via_previous")};
  if (verb == "pairs")
    return {head_column(), token_column("source", "source"), token_column("attending", "via"), token_column("output", "target"),
            scaled("value", "score")};
  if (verb == "skip-trigrams")
    return {head_column(),
            token_column("source …", "source"),
            token_column("… attending", "via"),
            token_column("→ output", "target"),
            scaled("score", "score"),
            scaled("qk", "qk"),
            scaled("ov", "ov"),
            {"", Align::kLeft, [](const Json& r) { return r["bug"].get<bool>() ? "forced" : ""; }}};
  if (verb == "bigrams") return {token_column("source", "source"), token_column("next", "target"), number("logprob", "logprob")};
  if (verb == "svd")
    return {head_column(), words("#", "index"), words("side", "side"), scaled("σ", "score"), tokens_column("tokens", "tokens")};
  if (verb == "neurons")
    return {{"neuron", Align::kRight, [](const Json& r) { return fmt::format("{}.{}", whole(r["layer"]), whole(r["neuron"])); }},
            number("cos in", "cos_in"),
            number("cos gate", "cos_gate"),
            tokens_column("reads", "reads"),
            tokens_column("writes", "writes")};
  return residual_columns(rows);
}

// Eigenvalues in the complex plane; the distance from the middle is the square root of |λ| over the largest.
std::string spectrum(const Json& row) {
  constexpr int kHalfWidth = 30, kHalfHeight = 9;
  std::vector<std::string> grid(2 * kHalfHeight + 1, std::string(2 * kHalfWidth + 1, ' '));
  for (std::string& line : grid) line[kHalfWidth] = '|';
  grid[kHalfHeight].assign(2 * kHalfWidth + 1, '-');
  grid[kHalfHeight][kHalfWidth] = '+';
  double most = 0;
  for (const Json& v : row["eigenvalues"]) most = std::max(most, std::hypot(v[0].get<double>(), v[1].get<double>()));
  for (const Json& v : row["eigenvalues"]) {
    const double re = v[0].get<double>(), im = v[1].get<double>(), size = std::hypot(re, im);
    if (most <= 0 || size <= 0) continue;
    const double r = std::sqrt(size / most) / size;
    const int x = kHalfWidth + static_cast<int>(std::lround(re * r * kHalfWidth));
    const int y = kHalfHeight - static_cast<int>(std::lround(im * r * kHalfHeight));
    grid[y][x] = re >= 0 ? 'o' : 'x';
  }
  std::string out =
      fmt::format("\nEigenvalues of head {} (o: Re λ ≥ 0, x: Re λ < 0; edge: |λ| = {:.4g})\n", head_name(row), most);
  for (const std::string& line : grid) out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  return out;
}

std::string heading(const Json& r) {
  std::string out = fmt::format("{} {}, folded view", r["model"].get<std::string>(), r["verb"].get<std::string>());
  if (r.contains("embedding")) out += fmt::format(", tokens as {}", r["embedding"].get<std::string>());
  if (r.contains("offset")) out += fmt::format(", offset {}", r["offset"].get<int64_t>());
  if (r.contains("null") && r["null"].is_object())
    out += fmt::format(", {} random heads {:.3f} ± {:.3f}", whole(r["null"]["draws"]), r["null"]["mean"].get<double>(),
                       r["null"]["sd"].get<double>());
  if (r.contains("pairs")) out += fmt::format(", {} pairs", whole(r["pairs"]));
  return out + "\n";
}

}  // namespace

std::string weights_table(const Json& result, int columns) {
  const std::string verb = result["verb"].get<std::string>();
  const Json& rows = result["rows"];
  const std::vector<Column> shown = columns_of(verb, rows);
  std::vector<Table::Column> heads;
  for (const Column& c : shown) heads.push_back({c.name, c.align});
  Table table(heads);
  for (size_t i = 0; i < std::min(rows.size(), kShown); ++i) {
    std::vector<std::string> cells;
    for (const Column& c : shown) cells.push_back(inert(c.cell(rows[i])));
    table.row(std::move(cells));
  }
  std::string out = inert(heading(result)) + table.text(columns);
  if (rows.size() > kShown) out += fmt::format("… {} rows in all; --json gives them, --top N cuts them\n", rows.size());
  if ((verb == "copying" || verb == "matching") && rows.size() <= 3)
    for (const Json& row : rows) out += spectrum(row);
  return out;
}

}  // namespace microtome::cli
