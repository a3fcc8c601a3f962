#include "microtome/circuits/sweep/host.h"

#include <algorithm>

#include "microtome/base/error.h"

namespace microtome::sweep {
namespace {

// Rows of one pass over hosts: enough for products to run at full speed.
constexpr int64_t kPassRows = 1024;

Tensor gather(const Tensor& x, int64_t first, std::span<const int32_t> positions) {
  Tensor y = Tensor::empty({std::ssize(positions), x.size(1)});
  for (size_t i = 0; i < positions.size(); ++i)
    std::copy_n(x.f32() + (first + positions[i]) * x.size(1), x.size(1), y.f32() + static_cast<int64_t>(i) * x.size(1));
  return y;
}

}  // namespace

std::vector<HostRun> run_hosts(const Model& model, std::vector<SweepHost> specs, std::span<const Edit> edits,
                               const Progress* progress) {
  std::vector<HostRun> hosts;
  for (SweepHost& spec : specs) {
    if (spec.tokens.empty()) throw Error(ErrorKind::kInvalidArgument, "sweep: a base run without tokens");
    for (const int32_t p : spec.positions) MT_CHECK(p >= 0 && p < std::ssize(spec.tokens));
    hosts.push_back({std::move(spec), model.make_cache(), {}, {}});
  }
  for (size_t first = 0, last = 0; first < hosts.size(); first = last) {
    Batch batch;
    for (; last < hosts.size() && (last == first || batch.rows() + hosts[last].length() <= kPassRows); ++last)
      batch.add_sequence(hosts[last].spec.tokens, &hosts[last].cache);
    Plan plan;
    for (const Edit& e : edits) plan.edit(e);
    plan.logit_rows = LogitRows::kNone;
    const Forward f = forward(model, {.batch = batch, .plan = &plan, .progress = progress});
    for (size_t i = first; i < last; ++i) {
      const Tensor rows = gather(f.residual.data, batch.sequences[i - first].row_begin, hosts[i].spec.positions);
      hosts[i].logits = unembed(model, rows, hosts[i].spec.columns).clone();
    }
  }
  if (std::any_of(edits.begin(), edits.end(), [](const Edit& e) { return !site_in_block(e.site.kind); }))
    for (HostRun& h : hosts) h.logits = run_alone(model, h.spec, edits);
  return hosts;
}

void need(const Model& model, std::vector<HostRun>& hosts, std::span<const SiteKind> kinds, std::span<const Edit> edits,
          const Progress* progress) {
  std::vector<Site> missing;
  for (const SiteKind kind : kinds)
    for (int l = 0; l < static_cast<int>(model.config().n_layers); ++l) {
      const Site site{kind, l};
      const bool have = std::all_of(hosts.begin(), hosts.end(), [&](const HostRun& h) { return h.values.contains(site); });
      if (!have && site_exists(site, model.config())) missing.push_back(site);
    }
  if (missing.empty()) return;
  std::vector<const std::vector<int32_t>*> prompts;
  std::vector<SiteValues*> values;
  for (HostRun& h : hosts) {
    prompts.push_back(&h.spec.tokens);
    values.push_back(&h.values);
  }
  read_values(model, prompts, values, missing, {.edits = edits, .progress = progress});
}

KvCache block_cache(const HostRun& host, const Config& config, int l) {
  KvCache cache(config.n_layers, config.n_kv_heads, config.d_head, config.d_head);
  for (int64_t h = 0; h < config.n_kv_heads; ++h) cache.head(l, h) = host.cache.head(l, h);
  return cache;
}

Batch step_batch(std::span<const StepRows> rows) {
  Batch batch;
  for (const StepRows& r : rows) {
    const int64_t begin = batch.rows();
    for (const int32_t p : r.positions) {
      batch.tokens.push_back(r.host->spec.tokens[p]);
      batch.positions.push_back(p);
    }
    batch.sequences.push_back({.cache = r.cache,
                               .row_begin = begin,
                               .row_end = batch.rows(),
                               .prompt_length = r.host->length(),
                               .replace = r.cache != nullptr});
  }
  return batch;
}

}  // namespace microtome::sweep
