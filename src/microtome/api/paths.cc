#include "microtome/api/paths.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "microtome/circuits/paths/expansion.h"

namespace microtome::api {
namespace {

Json number_or_null(int n) { return n < 0 ? Json() : Json(n); }

Json component_json(const LogitComponent& c) {
  Json out{{"name", c.name()}, {"layer", number_or_null(c.layer)}, {"head", number_or_null(c.head)}};
  if (c.neuron >= 0) out["neuron"] = c.neuron;
  out["logit"] = c.logit;
  return out;
}

int32_t most_probable(const Model& model, const std::vector<int32_t>& ids, int64_t position, Plan plan) {
  Batch batch;
  batch.add_sequence(ids);
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = {static_cast<int32_t>(position)};
  const Tensor logits = forward(model, {.batch = batch, .plan = &plan}).logits.data;
  return static_cast<int32_t>(std::max_element(logits.f32(), logits.f32() + logits.numel()) - logits.f32());
}

void add_expansion(const Context& context, const std::vector<int32_t>& ids, const LogitDirection& direction, int64_t position,
                   const Plan& edits, Json& out) {
  const Model& model = *context.model;
  std::vector<int32_t> columns{direction.target};
  if (direction.versus != -1) columns.push_back(direction.versus);
  const FrozenRun run = freeze(model, ids, columns, &edits);
  const PathExpansion e = expand_paths(model, run, direction, position, context.progress);
  for (const PathTerm& t : e.terms)
    out["terms"].push_back({{"path", t.name()}, {"order", t.source.starts_with("order") ? 3 : t.order()}, {"logit", t.logit}});
  out["total"] = e.total;
  std::vector<double> losses;
  if (ids.size() > 1) losses = order_losses(model, run, stream_orders(run));
  for (size_t n = 0; n < e.order_logits.size(); ++n) {
    const Json loss = losses.empty() ? Json() : Json(losses[n]);
    const Json change = losses.empty() || n == 0 ? Json() : Json(losses[n] - losses[n - 1]);
    out["orders"].push_back({{"order", n}, {"loss", loss}, {"change", change}, {"logit", e.order_logits[n]}});
  }
}

Json paths_of(const Context& context, const PathsOptions& options, const std::vector<int32_t>& ids) {
  const Model& model = *context.model;
  const int64_t n = std::ssize(ids), position = options.position < 0 ? n + options.position : options.position;
  if (position < 0 || position >= n)
    throw FieldError("position", fmt::format("position {} is outside of the prompt's {} tokens", options.position, n));
  Plan edits;
  add_edits(context, options.edits, options.input, edits, n);
  LogitDirection direction;
  direction.target = options.target ? find_token(model, *options.target) : most_probable(model, ids, position, edits);
  if (options.versus) direction.versus = find_token(model, *options.versus);
  if (direction.versus == direction.target)
    throw FieldError("versus", "target and versus are the same token: their difference is 0; give two tokens");
  const DirectAttribution a = direct_logit_attribution(
      model, ids, direction, {.position = position, .folded = options.folded, .top_neurons = options.neurons}, &edits);
  Json tokens = Json::array();
  for (const int32_t id : ids) tokens.push_back(token_json(model, id));
  Json out{{"model", context.name},
           {"tokens", std::move(tokens)},
           {"position", position},
           {"target", token_json(model, direction.target)},
           {"versus", direction.versus == -1 ? Json() : token_json(model, direction.versus)},
           {"terms", Json::array()},
           {"components", Json::array()},
           {"neurons", Json::array()},
           {"orders", Json::array()},
           {"total", a.total},
           {"logit", a.logit}};
  for (const LogitComponent& c : a.components) out["components"].push_back(component_json(c));
  for (const LogitComponent& c : a.neurons) out["neurons"].push_back(component_json(c));
  if (!model.config().mlp) add_expansion(context, ids, direction, position, edits, out);
  return out;
}

}  // namespace

PathsOptions paths_options(const Json& request) {
  Fields f(request);
  PathsOptions o;
  o.input = f.input();
  o.edits = f.edits();
  o.target = f.text("target");
  o.versus = f.text("versus");
  o.position = f.integer("position", -(int64_t{1} << 31), int64_t{1} << 31).value_or(-1);
  o.neurons = f.integer("neurons", 0, 10'000).value_or(20);
  if (const auto view = f.text("bias-view")) {
    if (*view != "folded" && *view != "raw")
      throw FieldError("bias-view", fmt::format("\"bias-view\" is \"{}\", expected folded or raw", printable(*view)));
    o.folded = *view == "folded";
  }
  f.finish();
  return o;
}

std::vector<Json> paths(const Context& context, const PathsOptions& options) {
  std::vector<Json> out;
  for (const auto& ids : encode_input(context, options.input)) out.push_back(paths_of(context, options, ids));
  return out;
}

}  // namespace microtome::api
