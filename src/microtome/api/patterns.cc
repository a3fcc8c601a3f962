#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/model/capture.h"

namespace microtome::api {
namespace {

std::string base64(const std::vector<uint8_t>& bytes) {
  static constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const uint32_t b1 = i + 1 < bytes.size() ? bytes[i + 1] : 0, b2 = i + 2 < bytes.size() ? bytes[i + 2] : 0;
    const uint32_t word = uint32_t{bytes[i]} << 16 | b1 << 8 | b2;
    out += kDigits[word >> 18];
    out += kDigits[word >> 12 & 63];
    out += i + 1 < bytes.size() ? kDigits[word >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kDigits[word & 63] : '=';
  }
  return out;
}

Json pattern_rows(const Tensor& pattern, int64_t head) {
  const int64_t n = pattern.size(3);
  Json rows = Json::array();
  for (int64_t i = 0; i < n; ++i) {
    const float* row = pattern.f32() + (head * n + i) * n;
    rows.push_back(std::vector<float>(row, row + n));
  }
  return rows;
}

}  // namespace

PatternsOptions patterns_options(const Json& request) {
  Fields f(request);
  PatternsOptions o;
  o.input = f.input();
  o.edits = f.edits();
  if (const Json* layers = f.find("layers")) {
    if (!layers->is_array()) throw FieldError("layers", "\"layers\" is not a list");
    for (const Json& e : *layers) {
      if (!e.is_number_integer()) throw FieldError("layers", "\"layers\" holds something that is not a whole number");
      o.layers.push_back(e.get<int64_t>());
    }
  }
  o.layer = f.integer("layer", 0, 1 << 20);
  o.head = f.integer("head", 0, 1 << 20);
  f.find("exact");
  f.finish();
  if (o.layer.has_value() != o.head.has_value()) throw FieldError("head", "give both layer and head, or neither");
  return o;
}

Json patterns(const Context& context, const PatternsOptions& options) {
  const Model& model = *context.model;
  const Config& c = model.config();
  if (options.layer && *options.layer >= c.n_layers)
    throw FieldError("layer", fmt::format("layer {} is outside of 0:{}", *options.layer, c.n_layers));
  if (options.head && *options.head >= c.n_heads)
    throw FieldError("head", fmt::format("head {} is outside of 0:{}", *options.head, c.n_heads));
  const auto prompts = encode_input(context, options.input);
  if (prompts.size() != 1) throw FieldError("prompt", "patterns are shown for one prompt at a time");
  std::vector<int64_t> layers = options.layers;
  if (layers.empty())
    for (int64_t l = 0; l < c.n_layers; ++l) layers.push_back(l);
  for (const int64_t l : layers)
    if (l < 0 || l >= c.n_layers) throw FieldError("layers", fmt::format("layer {} is outside of 0:{}", l, c.n_layers));
  Plan plan;
  add_edits(context, options.edits, options.input, plan, std::ssize(prompts[0]));
  Capture capture(1);
  const int64_t n = std::ssize(prompts[0]);
  std::vector<uint8_t> bytes;
  if (options.layer) {
    capture.read(plan, {SiteKind::kPattern, static_cast<int>(*options.layer)});
    plan.stop_after_layer = static_cast<int>(*options.layer);
  } else {
    if (std::ssize(layers) * c.n_heads * n * n > int64_t{256} << 20)
      throw FieldError(
          "prompt",
          fmt::format("the patterns of {} tokens are too large for one picture; give layer and head, or a shorter prompt", n));
    bytes.resize(std::ssize(layers) * c.n_heads * n * n);
    for (int64_t i = 0; i < std::ssize(layers); ++i)
      plan.read({SiteKind::kPattern, static_cast<int>(layers[i])},
                [out = bytes.data() + i * c.n_heads * n * n, count = c.n_heads * n * n](const SiteValue& v) {
                  for (int64_t i = 0; i < count; ++i)
                    out[i] = static_cast<uint8_t>(std::lround(255 * std::clamp(v.data.f32()[i], 0.0f, 1.0f)));
                });
  }
  plan.logit_rows = LogitRows::kNone;
  Batch batch;
  batch.add_sequence(prompts[0]);
  forward(model, {.batch = batch, .plan = &plan, .progress = context.progress});
  Json tokens = Json::array();
  for (const int32_t id : prompts[0]) tokens.push_back(token_json(model, id));
  Json result{{"model", context.name}, {"n_layers", c.n_layers}, {"n_heads", c.n_heads}, {"tokens", tokens}};
  if (options.layer) {
    result["layer"] = *options.layer;
    result["head"] = *options.head;
    result["pattern"] = pattern_rows(capture.array({SiteKind::kPattern, static_cast<int>(*options.layer)}), *options.head);
  } else {
    result["layers"] = layers;
    result["patterns"] = base64(bytes);
  }
  return result;
}

}  // namespace microtome::api
