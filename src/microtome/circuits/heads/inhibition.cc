#include "microtome/circuits/heads/inhibition.h"

#include <algorithm>
#include <map>

#include "microtome/base/error.h"
#include "microtome/circuits/heads/probe.h"
#include "microtome/kernels/gemm.h"

namespace microtome::heads {
namespace {

using Sets = std::vector<std::vector<HeadId>>;
using MoversOfLayer = std::map<int, std::vector<int>>;

// What a pass over one prompt leaves behind.
struct PromptState {
  std::map<int, Tensor> streams;  // inputs of the movers' layers, [T, D]
  std::vector<Tensor> z;          // of each layer at END, [H, K]
};

PromptState run_prompt(const Model& model, const std::vector<int32_t>& ids, int64_t end, const MoversOfLayer& movers,
                       const Plan* edits) {
  PromptState out;
  const int last = movers.rbegin()->first;
  out.z.resize(static_cast<size_t>(last));
  Plan plan = edited_plan(edits);
  plan.logit_rows = LogitRows::kNone;
  plan.stop_after_layer = last;
  for (const auto& [layer, heads] : movers)
    plan.read({SiteKind::kResidPre, layer}, [&out, layer = layer](const SiteValue& v) { out.streams[layer] = v.data.clone(); });
  for (int l = 0; l < last; ++l)
    plan.read({SiteKind::kZ, l}, [&out, l, end](const SiteValue& v) {
      out.z[l] = v.data.slice(end, end + 1).view({v.data.size(1), v.data.size(2)}).clone();
    });
  Batch batch;
  batch.add_sequence(ids);
  forward(model, {.batch = batch, .plan = &plan});
  return out;
}

// Edits of this layer and those after it; its input has been edited already.
Plan edits_from(const Plan* edits, int layer) {
  Plan out;
  if (edits)
    for (const Edit& e : edits->edits())
      if (e.site.layer >= layer && e.site != Site{SiteKind::kResidPre, layer}) out.edit(e);
  return out;
}

class InhibitionTest {
 public:
  InhibitionTest(const Model& model, const MoversOfLayer& movers, const Sets& sets, const Plan* edits)
      : model_(model), movers_(movers), sets_(sets), edits_(edits) {
    std::vector<HeadId> all;
    for (const auto& set : sets) all.insert(all.end(), set.begin(), set.end());
    std::sort(all.begin(), all.end());
    all.erase(std::unique(all.begin(), all.end()), all.end());
    for (algebra::HeadWeights& h : algebra::read_heads(model, all)) {
      const HeadId id = h.id;
      weights_.emplace(id, std::move(h));
    }
  }

  // Adds a prompt's sums over movers: of the run as it is at [0], then of each set.
  void add(const TaskExample& t, std::vector<double>& sums) {
    const int64_t end = t.example.positions.at("END");
    const PromptState host = run_prompt(model_, t.example.clean, end, movers_, edits_),
                      other = run_prompt(model_, t.control, end, movers_, edits_);
    for (const auto& [layer, heads] : movers_) add_layer(t.example, layer, heads, host, changes(host, other, layer), sums);
  }

 private:
  // What each set (none at 0) adds to a query's stream in this layer, [1 + sets, 1, 1, D].
  Tensor changes(const PromptState& host, const PromptState& other, int layer) {
    const int64_t d = model_.config().d_model;
    std::map<HeadId, std::vector<float>> written;
    for (const auto& [id, h] : weights_) {
      if (id.layer >= layer) continue;
      std::vector<float> z(static_cast<size_t>(h.k)), out(static_cast<size_t>(d));
      for (int64_t k = 0; k < h.k; ++k)
        z[k] = other.z[id.layer].f32()[id.head * h.k + k] - host.z[id.layer].f32()[id.head * h.k + k];
      gemm_plain(z.data(), h.w_o.data(), out.data(), 1, h.k, d);
      written.emplace(id, std::move(out));
    }
    Tensor out = Tensor::zeros({std::ssize(sets_) + 1, 1, 1, d});
    for (size_t s = 0; s < sets_.size(); ++s)
      for (const HeadId& id : sets_[s])
        if (const auto w = written.find(id); w != written.end())
          for (int64_t x = 0; x < d; ++x) out.f32()[(static_cast<int64_t>(s) + 1) * d + x] += w->second[x];
    return out;
  }

  // One block, all sets at once.
  void add_layer(const Example& e, int layer, const std::vector<int>& heads, const PromptState& host, const Tensor& change,
                 std::vector<double>& sums) {
    const int64_t n = change.size(0), t = e.length(), d = model_.config().d_model, h_all = model_.config().n_heads;
    const auto end = e.positions.at("END"), io = e.positions.at("IO"), s1 = e.positions.at("S1"), s2 = e.positions.at("S2");
    Batch batch;
    Tensor streams = Tensor::empty({n * t, d});
    auto lists = std::make_shared<KeyLists>(2);
    for (int64_t i = 0; i < n; ++i) {
      batch.add_sequence(e.clean);
      std::copy_n(host.streams.at(layer).f32(), t * d, streams.f32() + i * t * d);
      for (int64_t p = 0; p < t; ++p)
        lists->add_row(p == end ? std::vector<std::vector<int32_t>>{{io}, {s1, s2}} : std::vector<std::vector<int32_t>>(2));
    }
    Plan plan = edits_from(edits_, layer);
    for (const int h : heads)
      plan.edit(add_edit({SiteKind::kQInput, layer}, {.pos = Range{end, end + 1}, .head = Range{h, h + 1}}, change));
    plan.logit_rows = LogitRows::kNone;
    plan.stop_after_layer = layer;
    plan.attention_mass(lists, [&](int, std::span<const double> mass) {
      for (int64_t i = 0; i < n; ++i)
        for (const int h : heads) {
          const double* m = mass.data() + ((i * t + end) * h_all + h) * 2;
          sums[i] += m[0] - m[1];
        }
    });
    forward(model_, {.batch = batch, .plan = &plan, .first_layer = layer, .residual = Value(streams)});
  }

  const Model& model_;
  const MoversOfLayer& movers_;
  const Sets& sets_;
  const Plan* edits_;
  std::map<HeadId, algebra::HeadWeights> weights_;
};

}  // namespace

VerifyResult verify_inhibition(const Model& model, const std::vector<TaskExample>& prompts, const std::vector<HeadId>& candidates,
                               const std::vector<HeadId>& movers, const VerifyOptions& o, Progress* progress) {
  MoversOfLayer by_layer;
  for (const HeadId& m : movers) by_layer[m.layer].push_back(m.head);
  std::vector<HeadId> below;
  for (const HeadId& c : candidates)
    if (!by_layer.empty() && c.layer < by_layer.rbegin()->first) below.push_back(c);
  if (below.empty())
    throw Error(ErrorKind::kUnsupported,
                "s_inhibition: no candidate lies below one of the strongest movers, so no path leads there");
  for (const TaskExample& t : prompts)
    if (std::ssize(t.control) != t.example.length())
      throw Error(ErrorKind::kUnsupported, "s_inhibition: a prompt has no control of as many tokens");
  return compare_with_draws(model.config(), below, o, [&](const Sets& sets, double& base) {
    InhibitionTest test(model, by_layer, sets, o.edits);
    std::vector<double> sums(sets.size() + 1);
    if (progress) progress->begin("paths to the movers", static_cast<double>(prompts.size()));
    for (const TaskExample& t : prompts) {
      test.add(t, sums);
      if (progress) progress->step();
    }
    if (progress) progress->end();
    for (double& s : sums) s /= static_cast<double>(prompts.size() * movers.size());
    base = sums[0];
    return std::vector<double>(sums.begin() + 1, sums.end());
  });
}

}  // namespace microtome::heads
