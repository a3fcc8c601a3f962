#include "microtome/circuits/paths/frozen_run.h"

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr double kMostPatternBytes = 4e9;

void check(const Config& c, int64_t n) {
  if (c.mlp)
    throw Error(ErrorKind::kUnsupported,
                "path expansion is for attention-only models: the MLPs of this {} model are not linear; its components are there "
                "(direct logit attribution)",
                c.family);
  const double bytes = 4.0 * static_cast<double>(c.n_layers * c.n_heads) * static_cast<double>(n) * static_cast<double>(n);
  if (bytes > kMostPatternBytes)
    throw Error(ErrorKind::kInvalidArgument,
                "path expansion keeps all patterns: {:.1f} GB for {} tokens, at most {:.0f} GB; shorten the prompt", bytes / 1e9,
                n, kMostPatternBytes / 1e9);
}

}  // namespace

FrozenRun freeze(const Model& model, const std::vector<int32_t>& ids, const std::vector<int32_t>& columns, const Plan* edits) {
  const Config& c = model.config();
  const int64_t n = std::ssize(ids);
  check(c, n);
  FrozenRun run{.ids = ids, .length = n, .d = c.d_model};
  run.centred = c.norm == NormKind::kLayerNorm || c.norm == NormKind::kLayerNormPre;
  run.pattern.resize(c.n_layers);
  run.scale.assign(c.n_layers, std::vector<double>(n, 1.0));
  run.final_scale.assign(n, 1.0);
  Plan plan = edits ? *edits : Plan();
  run.edited = !plan.empty();
  plan.read({SiteKind::kEmbed, -1}, [&](const SiteValue& v) { run.token = v.data.clone().view({n, c.d_model}); });
  if (c.positions == PositionKind::kLearned)
    plan.read({SiteKind::kPosEmbed, -1}, [&](const SiteValue& v) { run.position = v.data.clone().view({n, c.d_model}); });
  const auto scales = [&](Site site, std::vector<double>& to) {
    if (!site_exists(site, c)) return;
    plan.read(site, [&to, n](const SiteValue& v) { to.assign(v.data.f32(), v.data.f32() + n); });
  };
  for (int l = 0; l < c.n_layers; ++l) {
    plan.read({SiteKind::kPattern, l}, [&run, l](const SiteValue& v) { run.pattern[l] = v.data.clone(); });
    scales({SiteKind::kLn1Scale, l}, run.scale[l]);
    const Vector& b = model.weights().layers[l].b_o;
    run.bias.push_back(b.present() ? std::vector<float>(b.data.f32(), b.data.f32() + c.d_model) : std::vector<float>());
  }
  scales({SiteKind::kLnFinalScale, -1}, run.final_scale);
  plan.logit_rows = columns.empty() ? LogitRows::kNone : LogitRows::kAll;
  plan.logit_columns = columns;
  Batch batch;
  batch.add_sequence(ids);
  const Forward result = forward(model, {.batch = batch, .plan = &plan});
  if (!columns.empty()) run.logits.assign(result.logits.data.f32(), result.logits.data.f32() + result.logits.data.numel());
  run.heads = algebra::read_heads(model);
  return run;
}

}  // namespace microtome
