#include "microtome/server/answer_size.h"

#include <algorithm>

#include "microtome/lens/logit_lens.h"

namespace microtome::server {
namespace {

// Values of a site over [B, T] padded positions.
int64_t site_values(const Site& site, const Config& config, int64_t sequences, int64_t longest) {
  const SiteShape shape = site_shape(site.kind);
  if (shape == SiteShape::kPattern) return sequences * config.n_heads * longest * longest;
  return sequences * longest * std::max<int64_t>(1, site_heads(shape, config)) * site_width(shape, config);
}

}  // namespace

void check_lens_size(const api::Context& context, const api::LensCommandOptions& options) {
  const int64_t points = std::ssize(lens_points(context.model->config(), options.all_points));
  int64_t positions = 0;
  for (const auto& ids : api::encode_input(context, options.input)) {
    if (options.positions == "all") positions += std::ssize(ids);
    else positions += 1 + std::count(options.positions.begin(), options.positions.end(), ',');
  }
  const int64_t tokens = points * positions * (options.top + 1);
  if (tokens > kMostLensTokens)
    throw api::FieldError(
        "top", fmt::format("{} points times {} positions times {} tokens are more than {}; ask for fewer with top or positions",
                           points, positions, options.top, kMostLensTokens));
}

void check_trace_size(const api::Context& context, const api::TraceOptions& options) {
  const Config& config = context.model->config();
  const auto prompts = api::encode_input(context, options.input);
  int64_t longest = 0, values = options.param_grad ? context.model->parameter_count() : 0;
  for (const auto& ids : prompts) longest = std::max(longest, std::ssize(ids));
  for (const std::string& pattern : options.sites)
    for (const Site& site : match_sites(pattern, config))
      values += site_values(site, config, std::ssize(prompts), longest) * (options.grad ? 2 : 1);
  const auto bytes = values * static_cast<int64_t>(sizeof(float));
  if (bytes > kMostTraceBytes)
    throw api::FieldError(
        "sites",
        fmt::format(
            "the arrays would have {} MB, more than the {} MB that one answer may have; name fewer sites or shorten the prompts",
            bytes >> 20, kMostTraceBytes >> 20));
}

}  // namespace microtome::server
