// What the tests of circuit graphs share: golden models, prompt pairs, circuits run the slow way, a model that is linear.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../formats/temp_folder.h"
#include "golden_support.h"
#include "microtome/base/json.h"
#include "microtome/base/rng.h"
#include "microtome/circuits/graph/circuit_run.h"
#include "microtome/circuits/sweep.h"

namespace microtome::graph_support {

// Pairs of random tokens that agree before `first`; positions S (first) and END (last) are named.
inline std::vector<Example> pairs(const Model& model, const std::vector<int64_t>& lengths, int64_t first = 2) {
  std::vector<Example> out;
  const Philox rng(11, "graph pairs");
  const auto vocab = static_cast<uint64_t>(model.config().vocab);
  for (size_t s = 0; s < lengths.size(); ++s) {
    Example e;
    for (int64_t t = 0; t < lengths[s]; ++t) {
      e.clean.push_back(static_cast<int32_t>(rng.below(vocab, t, 2 * s)));
      e.corrupted.push_back(t != first && t != first + 2 ? e.clean.back() : static_cast<int32_t>(rng.below(vocab, t, 2 * s + 1)));
    }
    e.answers = {static_cast<int32_t>(rng.below(vocab, 100, s))};
    e.wrong = {static_cast<int32_t>(rng.below(vocab, 101, s))};
    e.positions = {{"S", static_cast<int>(first)}, {"END", static_cast<int>(lengths[s]) - 1}};
    out.push_back(std::move(e));
  }
  return out;
}

inline EdgeMask random_mask(const Graph& graph, double share, uint64_t seed) {
  EdgeMask mask(graph.n_edges());
  const Philox rng(seed, "mask");
  for (int64_t e = 0; e < graph.n_edges(); ++e) mask[e] = rng.uniform(e) < share;
  return mask;
}

// Outputs of every source in a run of one prompt: [sources][T * D].
inline std::vector<std::vector<float>> source_outputs(const Model& model, const Graph& graph, const std::vector<int32_t>& ids) {
  const Config& c = model.config();
  const auto t = std::ssize(ids);
  std::vector<std::vector<float>> out(graph.n_sources(), std::vector<float>(t * c.d_model));
  const auto value = [&](SiteKind kind, int l) { return values_at(model, ids, std::array{Site{kind, l}})[0]; };
  const auto put = [&](int64_t u, const Tensor& x) { std::copy_n(x.f32(), x.numel(), out[u].data()); };
  put(0, value(SiteKind::kResidPre, 0));
  for (int l = 0; l < c.n_layers; ++l) {
    const Tensor result = value(SiteKind::kResult, l);
    for (int64_t h = 0; h < c.n_heads; ++h)
      for (int64_t r = 0; r < t; ++r)
        std::copy_n(result.f32() + (r * c.n_heads + h) * c.d_model, c.d_model,
                    out[graph.head_source(l, h)].data() + r * c.d_model);
    if (c.mlp) put(graph.mlp_source(l), value(SiteKind::kMlpOut, l));
  }
  return out;
}

// The definition, by hooks that hold every source: in_v = stream - sum over u -> v not in K of (z_u - a_u). All rows, one
// circuit, one prompt.
inline Tensor slow_circuit(const Model& model, const Graph& graph, const EdgeMask& mask, const Example& e, const Metric& metric,
                           const std::vector<std::vector<float>>& ablated) {
  const Config& c = model.config();
  const int64_t d = c.d_model, t = e.length();
  const std::vector<int32_t> roles = role_of_positions(graph, e);
  std::vector<std::vector<float>> now(graph.n_sources(), std::vector<float>(t * d));
  Plan plan;
  const auto take_out = [&](int64_t v, int64_t heads, int64_t head, Tensor& x) {
    for (int64_t u = 0; u < graph.sources_of(v); ++u)
      for (int64_t r = 0; r < t; ++r) {
        if (mask[graph.edge(u, v, roles[r])]) continue;
        for (int64_t k = 0; k < d; ++k) x.f32()[(r * heads + head) * d + k] -= now[u][r * d + k] - ablated[u][r * d + k];
      }
  };
  const auto edit = [&](SiteKind kind, int l, auto fn) {
    Edit edit{.site = {kind, l}, .op = EditOp::kCustom};
    edit.custom = [fn](SiteValue& v) { fn(v.data); };
    plan.edit(edit);
  };
  plan.read({SiteKind::kResidPre, 0}, [&](const SiteValue& v) { std::copy_n(v.data.f32(), t * d, now[0].data()); });
  for (int l = 0; l < c.n_layers; ++l) {
    const auto heads = [&, l](SiteKind kind, int64_t n, auto receiver) {
      edit(kind, l, [&, n, l, receiver, take_out](Tensor& x) {
        for (int64_t h = 0; h < n; ++h) take_out((graph.*receiver)(l, h), n, h, x);
      });
    };
    heads(SiteKind::kQInput, c.n_heads, &Graph::query_receiver);
    heads(SiteKind::kKInput, c.n_kv_heads, &Graph::key_receiver);
    heads(SiteKind::kVInput, c.n_kv_heads, &Graph::value_receiver);
    plan.read({SiteKind::kResult, l}, [&, l](const SiteValue& v) {
      for (int64_t r = 0; r < t; ++r)
        for (int64_t h = 0; h < c.n_heads; ++h)
          std::copy_n(v.data.f32() + (r * c.n_heads + h) * d, d, now[graph.head_source(l, h)].data() + r * d);
    });
    if (!c.mlp) continue;
    // The stream itself is the sum of all sources of this run, so what is subtracted below counts for this receiver alone.
    edit(SiteKind::kMlpIn, l, [&, l, take_out](Tensor& x) { take_out(graph.mlp_receiver(l), 1, 0, x); });
    plan.read({SiteKind::kMlpOut, l},
              [&, l](const SiteValue& v) { std::copy_n(v.data.f32(), t * d, now[graph.mlp_source(l)].data()); });
  }
  edit(SiteKind::kResidPost, static_cast<int>(c.n_layers) - 1,
       [&, take_out](Tensor& x) { take_out(graph.logits_receiver(), 1, 0, x); });
  Batch batch;
  batch.add_sequence(e.clean);
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = metric.positions(e);
  plan.logit_columns = metric.columns(e);
  return forward(model, {.batch = batch, .plan = &plan}).logits.data.clone();
}

// Attention without queries (every key weighs the same), no norm, no MLP: the logits are linear in every receiver's input but
// queries' and keys', which do nothing.
inline std::shared_ptr<const Model> linear_model(int layers = 3) {
  constexpr int kWidth = 24, kHeads = 3, kHead = 8, kVocab = 30, kContext = 16;
  const Philox rng(5, "linear model");
  uint64_t drawn = 0;
  std::string data;
  Json header = Json::object();
  const auto add = [&](const std::string& name, std::vector<int64_t> shape, double scale) {
    int64_t n = 1;
    for (const int64_t s : shape) n *= s;
    const size_t begin = data.size();
    for (int64_t i = 0; i < n; ++i) {
      const auto x = static_cast<float>(scale * rng.normal(drawn++));
      data.append(reinterpret_cast<const char*>(&x), sizeof x);
    }
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  };
  add("embed.W_E", {kVocab, kWidth}, 1);
  add("pos_embed.W_pos", {kContext, kWidth}, 0.3);
  add("unembed.W_U", {kWidth, kVocab}, 0.5);
  for (int l = 0; l < layers; ++l) {
    const std::string a = fmt::format("blocks.{}.attn.", l);
    add(a + "W_Q", {kHeads, kWidth, kHead}, 0);
    add(a + "W_K", {kHeads, kWidth, kHead}, 0.3);
    add(a + "W_V", {kHeads, kWidth, kHead}, 0.3);
    add(a + "W_O", {kHeads, kHead, kWidth}, 0.3);
    add(a + "b_V", {kHeads, kHead}, 0.3);
    add(a + "b_O", {kWidth}, 0.3);
  }
  TempFolder folder;
  folder.write("config.json", dump_json({{"model_type", "attn_only"},
                                         {"n_layers", layers},
                                         {"d_model", kWidth},
                                         {"n_heads", kHeads},
                                         {"d_head", kHead},
                                         {"vocab", kVocab},
                                         {"context", kContext},
                                         {"positions", "standard"}}));
  const std::string text = dump_json(header);
  const uint64_t length = text.size();
  folder.write("model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data);
  return Model::load(folder.path());
}

}  // namespace microtome::graph_support
