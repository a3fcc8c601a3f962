#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/decode/generate.h"
#include "microtome/lens/logit_lens.h"
#include "microtome/model/capture.h"

namespace microtome::api {

RunOptions run_options(const Json& request) {
  Fields f(request);
  RunOptions o;
  o.input = f.input();
  o.edits = f.edits();
  o.max_tokens = f.integer("max-tokens", 0, 1 << 30).value_or(64);
  o.sampling.temperature = f.number("temperature").value_or(0);
  o.sampling.top_k = f.integer("top-k", 0, 1 << 30).value_or(0);
  o.sampling.top_p = f.number("top-p").value_or(1);
  o.sampling.min_p = f.number("min-p").value_or(0);
  o.sampling.seed = static_cast<uint64_t>(f.integer("seed", 0, int64_t{1} << 53).value_or(0));
  o.stop = f.texts("stop");
  o.top = f.integer("top", 0, 1000).value_or(0);
  o.lens = f.boolean("lens").value_or(false);
  f.find("stream");
  f.finish();
  return o;
}

namespace {

double log_sum_exp(const Model& model, std::span<const float> logits) {
  double lse = 0;
  model.context().kernels.log_sum_exp(1, std::ssize(logits), logits.data(), &lse);
  return lse;
}

// The streams of the newest row at every lens point, kept as the passes go by.
class LensColumn {
 public:
  LensColumn(const Model& model, Plan& plan) : model_(model), streams_(lens_points(model.config(), false).size()) {
    const auto points = lens_points(model.config(), false);
    for (size_t p = 0; p < points.size(); ++p)
      plan.read(points[p], [this, p](const SiteValue& v) {
        const int64_t n = v.data.size(0);
        streams_[p] = v.data.slice(n - 1, n).clone();
      });
  }
  Json cells(int64_t top) const {
    Json out = Json::array();
    for (const LensCell& cell : lens_cells(model_, streams_, {.top = top}, {-1})) {
      Json list = Json::array();
      for (const LensToken& t : cell.top)
        list.push_back({{"id", t.id}, {"text", token_text(model_, t.id)}, {"logprob", t.logprob}});
      out.push_back({{"top", list}, {"entropy", cell.entropy}, {"kl_to_final", cell.kl_to_final}});
    }
    return out;
  }

 private:
  const Model& model_;
  std::vector<Tensor> streams_;
};

Json step_json(const Model& model, const Step& s, const RunOptions& o) {
  Json event{{"index", s.index}, {"id", s.id}, {"text", s.text}};
  const double lse = log_sum_exp(model, s.logits);
  event["logprob"] = s.logits[s.id] - lse;
  if (o.top > 0) {
    Json top = Json::array();
    for (const auto& [id, logit] : top_logits(s.logits, o.top))
      top.push_back({{"id", id}, {"text", token_text(model, id)}, {"logprob", logit - lse}});
    event["top"] = top;
  }
  return event;
}

}  // namespace

std::vector<Json> run(const Context& context, const RunOptions& options, const std::function<bool(const Json&)>& on_token,
                      std::vector<NamedArray>* activations) {
  const Model& model = *context.model;
  const auto prompts = encode_input(context, options.input);
  if (activations && prompts.size() != 1)
    throw FieldError("sites", "activations of a generation are kept for one prompt at a time; give one prompt");
  std::vector<Json> results;
  for (const auto& ids : prompts) {
    Plan plan;
    add_edits(context, options.edits, options.input, plan,
              longest_of(prompts) + std::min(options.max_tokens, model.config().context));
    Capture capture(1);
    for (const std::string& pattern : options.sites)
      for (const Site& site : match_sites(pattern, model.config())) capture.read(plan, site);
    std::optional<LensColumn> column;
    if (options.lens) column.emplace(model, plan);
    const GenerateOptions generate_options{.max_tokens = options.max_tokens,
                                           .sampling = options.sampling,
                                           .stop = options.stop,
                                           .use_cache = options.use_cache,
                                           .run_last_token = activations != nullptr,
                                           .progress = context.progress};
    const Generated g = generate(model, ids, plan, generate_options, [&](const Step& s) {
      if (!on_token) return true;
      Json event = step_json(model, s, options);
      if (column) event["lens"] = column->cells(options.top > 0 ? options.top : 5);
      return on_token(event);
    });
    const int64_t decoded = std::ssize(g.ids) - 1;  // the first token comes out of the prompt's pass
    results.push_back(
        {{"model", context.name},
         {"prompt_ids", ids},
         {"ids", g.ids},
         {"text", g.text},
         {"finish", to_string(g.finish)},
         {"timing",
          {{"prompt_s", g.prompt_s},
           {"decode_s", g.decode_s},
           {"decode_tokens_per_s", decoded > 0 && g.decode_s > 0 ? Json(static_cast<double>(decoded) / g.decode_s) : Json()}}}});
    if (!activations) continue;
    std::vector<int32_t> all = ids;
    all.insert(all.end(), g.ids.begin(), g.ids.end());
    Tensor tokens = Tensor::empty({1, std::ssize(all)}, Arena::global(), DType::kI32);
    std::copy(all.begin(), all.end(), tokens.i32());
    activations->push_back({"tokens", tokens, {}});
    for (const Site& site : capture.sites()) activations->push_back({site_name(site), capture.array(site), {}});
  }
  return results;
}

}  // namespace microtome::api
