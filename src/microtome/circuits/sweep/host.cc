#include "microtome/circuits/sweep/host.h"

#include <algorithm>

#include "microtome/base/error.h"

namespace microtome::sweep {
namespace {

// Rows of one pass over hosts: enough for products to run at full speed.
constexpr int64_t kPassRows = 1024;

// fn(first, last): consecutive hosts that share a pass.
template <class Fn>
void in_passes(const std::vector<HostRun>& hosts, const Fn& fn) {
  for (size_t first = 0; first < hosts.size();) {
    size_t last = first;
    int64_t rows = 0;
    while (last < hosts.size() && (last == first || rows + hosts[last].length() <= kPassRows)) rows += hosts[last++].length();
    fn(first, last);
    first = last;
  }
}

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
  in_passes(hosts, [&](size_t first, size_t last) {
    Batch batch;
    for (size_t i = first; i < last; ++i) batch.add_sequence(hosts[i].spec.tokens, &hosts[i].cache);
    Plan plan;
    for (const Edit& e : edits) plan.edit(e);
    plan.logit_rows = LogitRows::kNone;
    const Forward f = forward(model, {.batch = batch, .plan = &plan, .progress = progress});
    for (size_t i = first; i < last; ++i) {
      const Tensor rows = gather(f.residual.data, batch.sequences[i - first].row_begin, hosts[i].spec.positions);
      hosts[i].logits = unembed(model, rows, hosts[i].spec.columns).clone();
    }
  });
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
  in_passes(hosts, [&](size_t first, size_t last) {
    Batch batch;
    for (size_t i = first; i < last; ++i) batch.add_sequence(hosts[i].spec.tokens);
    Plan plan;
    for (const Edit& e : edits) plan.edit(e);
    plan.logit_rows = LogitRows::kNone;
    for (const Site& site : missing)
      plan.read(site, [&](const SiteValue& v) {
        if (v.sequence >= 0) {
          hosts[first + v.sequence].values[v.site] = v.data.clone();
          return;
        }
        for (size_t i = first; i < last; ++i) {
          const Sequence& s = batch.sequences[i - first];
          hosts[i].values[v.site] = v.data.slice(s.row_begin, s.row_end).clone();
        }
      });
    forward(model, {.batch = batch, .plan = &plan, .progress = progress});
  });
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
