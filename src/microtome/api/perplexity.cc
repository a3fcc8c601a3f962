#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"
#include "microtome/model/loss.h"

namespace microtome::api {
namespace {

// Rows whose logits are held at once.
constexpr int64_t kLogitRows = 128;

// -log p of each of the window's tokens but the first, given those before it in the window.
std::vector<double> window_losses(const Context& context, std::span<const int32_t> ids, Plan& plan) {
  const Model& model = *context.model;
  Batch batch;
  batch.add_sequence(ids);
  plan.logit_rows = LogitRows::kNone;
  const std::vector<int32_t> targets = next_tokens(batch);
  std::vector<double> losses;
  // Edits at the logits themselves need them inside the pass.
  bool edits_logits = false;
  for (const Edit& e : plan.edits()) edits_logits = edits_logits || e.site.layer < 0;
  plan.logit_rows = edits_logits ? LogitRows::kAll : LogitRows::kNone;
  const Forward f = forward(model, {.batch = batch, .plan = &plan, .progress = context.progress});
  for (int64_t begin = 0; begin < batch.rows(); begin += kLogitRows) {
    const int64_t end = std::min(batch.rows(), begin + kLogitRows);
    const Tensor logits = edits_logits ? f.logits.data.slice(begin, end) : unembed(model, f.residual.data.slice(begin, end));
    const std::vector<int32_t> part(targets.begin() + begin, targets.begin() + end);
    const auto rows = row_losses(model, logits, part);
    losses.insert(losses.end(), rows.begin(), rows.end());
  }
  losses.pop_back();
  return losses;
}

}  // namespace

PerplexityOptions perplexity_options(const Json& request) {
  Fields f(request);
  PerplexityOptions o;
  o.input = f.input();
  o.edits = f.edits();
  o.window = f.integer("context", 2, 1 << 30).value_or(0);
  o.stride = f.integer("stride", 1, 1 << 30).value_or(0);
  f.finish();
  return o;
}

Json perplexity(const Context& context, const PerplexityOptions& options) {
  const Model& model = *context.model;
  const int64_t most = model.config().context;
  const int64_t window = options.window > 0 ? options.window : std::min<int64_t>(most, 1024);
  const int64_t stride = options.stride > 0 ? options.stride : window;
  if (window < 2 || window > most) throw FieldError("context", fmt::format("context is {}, expected 2 to {}", window, most));
  if (stride > window) throw FieldError("stride", fmt::format("stride is {}, expected 1 to the context of {}", stride, window));
  std::vector<std::vector<int32_t>> texts;
  if (options.input.prompt) texts.push_back(encode_text(context, *options.input.prompt, options.input.bos, options.input.chat));
  else texts = encode_input(context, options.input);
  double sum = 0, windows = 0;
  int64_t scored = 0;
  std::vector<double> position_sum(window - 1, 0.0);
  std::vector<int64_t> position_count(window - 1, 0);
  for (const auto& ids : texts)
    windows += std::ceil(std::max(0.0, static_cast<double>(std::ssize(ids) - window)) / static_cast<double>(stride)) + 1;
  if (context.progress) context.progress->begin("perplexity", windows);
  for (const auto& ids : texts) {
    const int64_t n = std::ssize(ids);
    int64_t done = 1;  // tokens of this text that have been scored, or cannot be
    for (int64_t begin = 0; begin + 1 < n && done < n; begin += stride) {
      const int64_t end = std::min(n, begin + window);
      Plan plan;
      add_edits(context, options.edits, options.input, plan, window);
      const auto losses = window_losses(context, std::span(ids).subspan(begin, end - begin), plan);
      for (int64_t t = std::max(done, begin + 1); t < end; ++t) {
        const int64_t at = t - begin - 1;
        sum += losses[at];
        ++scored;
        position_sum[at] += losses[at];
        ++position_count[at];
      }
      done = end;
      if (context.progress) context.progress->step();
    }
  }
  if (context.progress) context.progress->end();
  if (scored == 0) throw FieldError("prompt", "the text has fewer than two tokens: there is nothing to score");
  Json per_position = Json::array();
  for (size_t i = 0; i < position_sum.size(); ++i) {
    if (position_count[i] == 0 && std::all_of(position_count.begin() + i, position_count.end(), [](int64_t c) { return c == 0; }))
      break;
    per_position.push_back(position_count[i] ? Json(position_sum[i] / static_cast<double>(position_count[i])) : Json());
  }
  const double loss = sum / static_cast<double>(scored);
  return {{"model", context.name},
          {"tokens", scored},
          {"loss", loss},
          {"perplexity", std::exp(loss)},
          {"per_position", per_position}};
}

}  // namespace microtome::api
