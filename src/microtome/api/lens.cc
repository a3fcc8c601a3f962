#include <charconv>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/lens/logit_lens.h"

namespace microtome::api {
namespace {

std::vector<int32_t> chosen_positions(const std::string& text, int64_t n) {
  std::vector<int32_t> out;
  if (text == "last") return {static_cast<int32_t>(n) - 1};
  if (text == "all") {
    for (int32_t i = 0; i < n; ++i) out.push_back(i);
    return out;
  }
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    int64_t p = 0;
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, p);
    if (error != std::errc() || stop != text.data() + end)
      throw FieldError("positions",
                       fmt::format("positions \"{}\": expected last, all, or numbers as in 0,3,-1", printable(text)));
    const int64_t at = p < 0 ? n + p : p;
    if (at < 0 || at >= n) throw FieldError("positions", fmt::format("position {} is outside of the prompt's {} tokens", p, n));
    out.push_back(static_cast<int32_t>(at));
    begin = end + 1;
  }
  return out;
}

void set_target(const Model& model, const std::optional<std::string>& target, const std::vector<int32_t>& ids,
                LensOptions& options) {
  if (!target) return;
  if (*target == "final") {
    options.target_final = true;
  } else if (*target == "next") {
    options.targets.assign(ids.begin() + 1, ids.end());
    options.targets.push_back(-1);
  } else {
    options.targets.assign(ids.size(), find_token(model, *target));
  }
}

Json cell_json(const Model& model, const LensCell& cell, bool with_target) {
  Json top = Json::array();
  for (const LensToken& t : cell.top) top.push_back({{"id", t.id}, {"text", token_text(model, t.id)}, {"logprob", t.logprob}});
  Json out{{"top", top}, {"entropy", cell.entropy}, {"kl_to_final", cell.kl_to_final}};
  if (with_target)
    out["target"] = cell.target < 0 ? Json()
                                    : Json{{"id", cell.target},
                                           {"text", token_text(model, cell.target)},
                                           {"logprob", cell.target_logprob},
                                           {"rank", cell.target_rank}};
  return out;
}

}  // namespace

LensCommandOptions lens_options(const Json& request) {
  Fields f(request);
  LensCommandOptions o;
  o.input = f.input();
  o.edits = f.edits();
  if (const Json* p = f.find("positions"); p && p->is_array()) {
    o.positions.clear();
    for (const Json& e : *p) {
      if (!e.is_number_integer()) throw FieldError("positions", "\"positions\" holds something that is not a whole number");
      o.positions += (o.positions.empty() ? "" : ",") + e.dump();
    }
  } else {
    o.positions = f.text("positions").value_or("all");
  }
  o.top = f.integer("top", 0, 1000).value_or(5);
  o.target = f.text("target");
  o.all_points = f.boolean("all-points").value_or(false);
  f.finish();
  return o;
}

std::vector<Json> lens(const Context& context, const LensCommandOptions& options) {
  const Model& model = *context.model;
  if (options.top < 0 || options.top > model.config().vocab)
    throw FieldError("top", fmt::format("top is {}, expected 0 to {}", options.top, model.config().vocab));
  const auto prompts = encode_input(context, options.input);
  std::vector<Json> results;
  for (const auto& ids : prompts) {
    Plan plan;
    add_edits(context, options.edits, options.input, plan, longest_of(prompts));
    Batch batch;
    batch.add_sequence(ids);
    LensOptions lens_options{
        .all_points = options.all_points, .top = options.top, .rows = chosen_positions(options.positions, std::ssize(ids))};
    set_target(model, options.target, ids, lens_options);
    const LensResult r = logit_lens(model, batch, plan, lens_options, context.progress);
    Json tokens = Json::array(), points = Json::array(), cells = Json::array();
    for (const int32_t id : ids) tokens.push_back(token_json(model, id));
    for (size_t p = 0; p < r.points.size(); ++p) {
      points.push_back(site_name(r.points[p]));
      Json row = Json::array();
      for (size_t i = 0; i < r.rows.size(); ++i) row.push_back(cell_json(model, r.at(p, i), options.target.has_value()));
      cells.push_back(std::move(row));
    }
    results.push_back({{"model", context.name},
                       {"tokens", std::move(tokens)},
                       {"points", std::move(points)},
                       {"positions", r.rows},
                       {"cells", std::move(cells)}});
  }
  return results;
}

}  // namespace microtome::api
