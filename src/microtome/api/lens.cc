#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/lens/lens_vectors.h"
#include "microtome/lens/logit_lens.h"

namespace microtome::api {
namespace {

// A decomposition costs a product with W_U for each part.
constexpr int64_t kMostParts = 100;

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

// Means over the rows, beside the logit lens, for each map of the lens.
Json layers_json(const FittedLens& lens, const LensResult& r) {
  Json out = Json::array();
  const size_t shift = lens.kind == LensKind::kTuned ? 0 : 1, rows = r.rows.size();
  for (size_t l = 0; l < lens.layers.size() && l + shift < r.points.size(); ++l) {
    double kl = 0, logit = 0;
    for (size_t i = 0; i < rows; ++i) {
      kl += r.at(l + shift, i).kl_to_final;
      logit += r.kl_logit_lens[(l + shift) * rows + i];
    }
    const auto n = static_cast<double>(rows);
    out.push_back({{"layer", l}, {"kl", kl / n}, {"kl_logit_lens", logit / n}});
  }
  return out;
}

// Every state as a sum of few lens vectors. The vectors at point p are those of the lens at the input of block p.
Json decompositions(const Context& context, const FittedLens* lens, const LensResult& r, int64_t parts) {
  const Model& model = *context.model;
  Json out = Json::array();
  if (context.progress) context.progress->begin("decompose", static_cast<double>(r.points.size()));
  for (size_t p = 0; p < r.points.size(); ++p) {
    const int64_t layer = static_cast<int64_t>(p) - (lens && lens->kind == LensKind::kTuned ? 0 : 1);
    const LensDictionary dictionary = lens_dictionary(model, lens, layer);
    Json row = Json::array();
    for (size_t i = 0; i < r.rows.size(); ++i) {
      if (context.progress) context.progress->check();
      const float* h = r.streams[p].f32() + static_cast<int64_t>(i) * model.config().d_model;
      const Decomposition d = decompose(dictionary, h, parts);
      Json tokens = Json::array();
      for (const auto& part : d.parts)
        tokens.push_back({{"id", part.token}, {"text", token_text(model, part.token)}, {"coefficient", part.coefficient}});
      row.push_back({{"explained", d.explained}, {"tokens", std::move(tokens)}});
    }
    out.push_back(std::move(row));
    if (context.progress) context.progress->step(1);
  }
  if (context.progress) context.progress->end();
  return out;
}

// What could not be found out about the lenses that are used.
Json lens_warnings(const LensCommandOptions& options) {
  Json out = Json::array();
  const auto add = [&](const std::string& doubt) {
    if (!doubt.empty() && std::find(out.begin(), out.end(), Json(doubt)) == out.end()) out.push_back(doubt);
  };
  if (options.lens) add(options.lens->doubt(printable(options.lens_name, 200)));
  for (const EditOptions& e : options.edits)
    if (e.lens) add(lens_doubt(*e.lens));
  return out;
}

}  // namespace

void set_lens(LensCommandOptions& options, LensKind kind, const std::string& name, std::shared_ptr<const FittedLens> lens) {
  if (options.lens) throw FieldError("jacobian", "tuned and jacobian are both given; look through one lens at a time");
  if (!lens || lens->kind != kind)
    throw FieldError(lens_kind_name(kind), fmt::format("{}: is a {} lens, not a {} one; give it with --{}", printable(name, 200),
                                                       lens ? lens_kind_name(lens->kind) : "logit", lens_kind_name(kind),
                                                       lens ? lens_kind_name(lens->kind) : "edit"));
  options.lens = std::move(lens);
  options.lens_name = name;
}

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
  o.decompose = f.integer("decompose", 0, kMostParts).value_or(0);
  for (const LensKind kind : {LensKind::kTuned, LensKind::kJacobian})
    if (const auto name = f.text(lens_kind_name(kind))) set_lens(o, kind, *name, lens_of_field(lens_kind_name(kind), *name));
  f.finish();
  return o;
}

std::vector<Json> lens(const Context& context, const LensCommandOptions& options) {
  const Model& model = *context.model;
  if (options.top < 0 || options.top > model.config().vocab)
    throw FieldError("top", fmt::format("top is {}, expected 0 to {}", options.top, model.config().vocab));
  if (options.lens) {
    if (options.all_points)
      throw FieldError("all-points", "a fitted lens has maps for the blocks' inputs only; leave all-points out");
    options.lens->check_fits(model, printable(options.lens_name, 200));
  }
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
    lens_options.lens = options.lens.get();
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
    Json& result = results.back();
    if (options.lens) {
      result["lens"] = {
          {"kind", lens_kind_name(options.lens->kind)}, {"name", options.lens_name}, {"prompts", options.lens->n_prompts}};
      result["layers"] = layers_json(*options.lens, r);
    }
    if (const Json doubts = lens_warnings(options); !doubts.empty()) result["warnings"] = doubts;
    if (options.decompose > 0) result["decomposition"] = decompositions(context, options.lens.get(), r, options.decompose);
  }
  return results;
}

}  // namespace microtome::api
