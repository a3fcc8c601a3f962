#include "microtome/circuits/patching/paths.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "microtome/base/error.h"
#include "microtome/circuits/patching/replacement.h"
#include "microtome/circuits/patching/rows.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

constexpr int64_t kBatchRows = 2048;  // rows of one pass that recomputes MLPs

// The stream that a receiver reads.
Site stream_of(const Receiver& r, const Config& c) {
  if (r.site == SiteKind::kMlpIn) return {c.parallel ? SiteKind::kResidPre : SiteKind::kResidMid, r.layer};
  return {r.site == SiteKind::kResidPost ? SiteKind::kResidPost : SiteKind::kResidPre, r.layer};
}

Tensor sum_of(const Tensor& a, const Tensor& b, float factor = 1) {
  Tensor out = a.clone();
  for (int64_t i = 0; i < out.numel(); ++i) out.f32()[i] += factor * b.f32()[i];
  return out;
}

// One sender's streams at every place that is read, [T, D].
using Streams = std::map<Site, Tensor>;

// Attention outputs as the host's (the sender's own head changed), MLPs recomputed, for several senders in one pass.
std::vector<Streams> recompute_mlps(PatchRuns& runs, size_t i, std::span<const Sender* const> senders,
                                    const std::set<Site>& read) {
  const Config& c = runs.config();
  const int64_t n = std::ssize(senders), t = runs.length(i), d = c.d_model;
  std::vector<Tensor> changes;
  for (const Sender* s : senders) changes.push_back(sender_change(runs, i, *s));
  Batch batch;
  for (int64_t s = 0; s < n; ++s) batch.add_sequence(runs.host(i).tokens);
  Plan plan;
  for (const Edit& e : runs.setup().edits) plan.edit(e);
  // host (nothing: 0) repeated for each sender, plus the change of those that act at this place: [senders, T, D].
  const auto stacked = [&](const Tensor* host, Sender::Kind kind, int layer) {
    Tensor out = Tensor::zeros({n, t, d});
    for (int64_t s = 0; s < n; ++s) {
      float* to = out.f32() + s * t * d;
      if (host) std::memcpy(to, host->f32(), static_cast<size_t>(t * d) * sizeof(float));
      if (senders[s]->kind == kind && senders[s]->layer == layer)
        for (int64_t x = 0; x < t * d; ++x) to[x] += changes[s].f32()[x];
    }
    return out;
  };
  const auto any = [&](Sender::Kind kind, int layer) {
    return std::any_of(senders.begin(), senders.end(), [&](const Sender* s) { return s->kind == kind && s->layer == layer; });
  };
  if (any(Sender::Kind::kInput, -1))
    plan.edit(
        set_edit({SiteKind::kResidPre, 0}, {}, stacked(&runs.host_value(i, {SiteKind::kResidPre, 0}), Sender::Kind::kInput, -1)));
  for (int l = 0; l < c.n_layers; ++l) {
    plan.edit(
        set_edit({SiteKind::kAttnOut, l}, {}, stacked(&runs.host_value(i, {SiteKind::kAttnOut, l}), Sender::Kind::kHead, l)));
    if (any(Sender::Kind::kMlp, l)) plan.edit(add_edit({SiteKind::kMlpOut, l}, {}, stacked(nullptr, Sender::Kind::kMlp, l)));
  }
  std::vector<Streams> out(static_cast<size_t>(n));
  for (const Site& site : read)
    plan.read(site, [&](const SiteValue& v) {
      for (int64_t s = 0; s < n; ++s) out[s][site] = v.data.slice(s * t, (s + 1) * t).clone();
    });
  plan.logit_rows = LogitRows::kNone;
  forward(runs.model(), {.batch = batch, .plan = &plan, .progress = runs.setup().progress});
  return out;
}

// The receivers' inputs under one sender, as edits of the host's run; those that the sender reaches.
Intervention intervention_of(PatchRuns& runs, size_t i, const Sender& sender, const std::vector<Receiver>& set,
                             const std::function<Tensor(Site)>& stream) {
  Intervention out{.host = static_cast<int>(i), .edits = {}};
  const int64_t t = runs.length(i), d = runs.config().d_model;
  if (runs.first_difference(i) >= t) return out;
  for (const Receiver& r : set) {
    if (!reaches(sender, r, runs.config())) continue;
    const Site from = stream_of(r, runs.config());
    const Tensor value = stream(from);
    if (equal_bits(value, runs.host_value(i, from))) continue;
    const bool head = r.site == SiteKind::kQInput || r.site == SiteKind::kKInput || r.site == SiteKind::kVInput;
    Slice where;
    if (head) where.head = Range{r.head, r.head + 1};
    // Positions before the first difference are the host's.
    where.pos = Range{runs.first_difference(i), t};
    const Tensor part = value.slice(where.pos->begin, t);
    out.edits.push_back(set_edit({r.site, r.layer}, where, (head ? part.view({part.size(0), 1, d}) : part).clone()));
  }
  return out;
}

std::vector<Site> needed_sites(const Config& c, const std::vector<Sender>& senders, const std::set<Site>& read, bool through) {
  std::set<Site> sites(read.begin(), read.end());
  for (const Sender& s : senders) sites.insert(sender_site(s));
  if (through) {
    sites.insert({SiteKind::kResidPre, 0});
    for (int l = 0; l < c.n_layers; ++l) sites.insert({SiteKind::kAttnOut, l});
  }
  return {sites.begin(), sites.end()};
}

}  // namespace

Site sender_site(const Sender& s) {
  switch (s.kind) {
    case Sender::Kind::kInput: return {SiteKind::kResidPre, 0};
    case Sender::Kind::kHead: return {SiteKind::kZ, s.layer};
    case Sender::Kind::kMlp: return {SiteKind::kMlpOut, s.layer};
  }
  return {};
}

Tensor sender_change(PatchRuns& runs, size_t i, const Sender& s) {
  const Site site = sender_site(s);
  const Tensor change = sum_of(runs.other_value(i, site), runs.host_value(i, site), -1);
  if (s.kind != Sender::Kind::kHead) return change;
  // (z' - z) W_O of this head: the others' part of z is 0.
  Tensor z = Tensor::zeros(change.shape());
  const int64_t width = change.size(2), heads = change.size(1);
  for (int64_t p = 0; p < change.size(0); ++p)
    std::memcpy(z.f32() + (p * heads + s.head) * width, change.f32() + (p * heads + s.head) * width,
                static_cast<size_t>(width) * sizeof(float));
  const Model& model = runs.model();
  return call<Linear>(nullptr, model.context(), {model.weights().layers[s.layer].w_o.view, model.compute()},
                      Value(z.view({z.size(0), heads * width})), Value(), Value())
      .data.clone();
}

Effects patch_paths(PatchRuns& runs, const std::vector<Sender>& senders, const std::vector<std::vector<Receiver>>& receivers,
                    const PathOptions& options) {
  const Config& c = runs.config();
  std::set<Site> read;
  for (const auto& set : receivers)
    for (const Receiver& r : set) read.insert(stream_of(r, c));
  runs.need(needed_sites(c, senders, read, options.through_mlps));

  const size_t columns = receivers.size();
  Effects effects(runs.clean(), runs.corrupted(), senders.size() * columns);
  PatchRows rows(runs, effects);
  const auto add_sender = [&](size_t i, size_t s, const std::function<Tensor(Site)>& stream) {
    for (size_t r = 0; r < columns; ++r) {
      const bool path =
          std::any_of(receivers[r].begin(), receivers[r].end(), [&](const Receiver& to) { return reaches(senders[s], to, c); });
      if (path) rows.add(s * columns + r, intervention_of(runs, i, senders[s], receivers[r], stream));
    }
  };
  for (size_t i = 0; i < runs.size(); ++i) {
    if (!options.through_mlps) {
      for (size_t s = 0; s < senders.size(); ++s) {
        const Tensor change = sender_change(runs, i, senders[s]);
        add_sender(i, s, [&](Site site) { return sum_of(runs.host_value(i, site), change); });
      }
      continue;
    }
    const size_t batch = static_cast<size_t>(std::max<int64_t>(1, kBatchRows / runs.length(i)));
    for (size_t begin = 0; begin < senders.size(); begin += batch) {
      std::vector<const Sender*> part;
      for (size_t s = begin; s < std::min(senders.size(), begin + batch); ++s) part.push_back(&senders[s]);
      runs.count_extra(i, std::ssize(part));
      const std::vector<Streams> streams = recompute_mlps(runs, i, part, read);
      for (size_t s = 0; s < part.size(); ++s) add_sender(i, begin + s, [&](Site site) { return streams[s].at(site); });
    }
  }
  rows.finish();
  return effects;
}

}  // namespace microtome
