// Verbs of `weights` about directions of the stream: svd, neurons, residual.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/weights_verbs.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/directions.h"
#include "microtome/circuits/algebra/spectra.h"

namespace microtome::api {
namespace {

using namespace algebra;  // NOLINT(google-build-using-namespace): this file is about nothing else

struct Found {
  int layer = 0;
  std::optional<int> head;
  Direction direction;
};

std::vector<int> layers_or_all(const Config& c, const WeightsOptions& o) {
  std::vector<int> out = o.layers;
  if (out.empty())
    for (int l = 0; l < c.n_layers; ++l) out.push_back(l);
  return out;
}

Json tokens_json(const Context& c, const std::vector<TokenPair>& tokens) {
  Json out = Json::array();
  for (const TokenPair& t : tokens) {
    Json token = token_json(*c.model, t.column);
    token["value"] = t.value;
    out.push_back(std::move(token));
  }
  return out;
}

// Tokens of each direction, by the side that gives it meaning.
std::vector<DirectionTokens> read_tokens(const Vocabulary& vocabulary, const std::vector<std::vector<float>>& directions,
                                         const std::vector<StreamSide>& sides, int64_t n) {
  std::vector<DirectionTokens> out(directions.size());
  for (const StreamSide side : {StreamSide::kEmbed, StreamSide::kUnembed}) {
    std::vector<size_t> members;
    std::vector<std::vector<float>> chosen;
    for (size_t i = 0; i < directions.size(); ++i)
      if (sides[i] == side) members.push_back(i), chosen.push_back(directions[i]);
    auto tokens = tokens_of(vocabulary, chosen, side, n);
    for (size_t i = 0; i < members.size(); ++i) out[members[i]] = std::move(tokens[i]);
  }
  return out;
}

std::vector<Found> head_directions(const Context& c, const WeightsOptions& o) {
  const std::vector<HeadWeights> heads = read_heads(*c.model, o.heads, o.offset, c.progress);
  const HeadCircuit circuit = o.circuit == "ov" ? HeadCircuit::kOv : HeadCircuit::kQk;
  std::vector<std::vector<Direction>> parts(heads.size());
  if (c.progress) c.progress->begin("svd", static_cast<double>(heads.size()));
  parallel_for(std::ssize(heads), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      parts[i] = singular_directions(heads[i], circuit, o.directions);
      if (c.progress) c.progress->step();
    }
  });
  std::vector<Found> out;
  for (size_t i = 0; i < heads.size(); ++i)
    for (Direction& d : parts[i]) out.push_back({heads[i].id.layer, heads[i].id.head, std::move(d)});
  return out;
}

std::vector<Found> mlp_directions(const Context& c, const WeightsOptions& o) {
  const Config& config = c.model->config();
  if (o.head || (!o.heads.empty() && o.layers.empty()))
    throw FieldError("heads", fmt::format("the MLP's matrix \"{}\" has no heads; give layer", o.circuit));
  if (!config.mlp || (o.circuit == "gate" && !config.gated_mlp))
    throw FieldError("circuit", fmt::format("this model has no {}", config.mlp ? "gated MLP" : "MLP"));
  const std::vector<int> layers = layers_or_all(config, o);
  std::vector<std::vector<Direction>> parts(layers.size());
  if (c.progress) c.progress->begin("svd", static_cast<double>(layers.size()));
  parallel_for(std::ssize(layers), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const MlpWeights w = read_mlp(*c.model, layers[i]);
      if (c.progress) c.progress->check();
      const std::vector<float>& matrix = o.circuit == "in" ? w.w_in : o.circuit == "gate" ? w.w_gate : w.w_out;
      parts[i] = singular_directions(matrix, w.d, w.m, o.circuit == "out", o.directions);
      if (c.progress) c.progress->step();
    }
  });
  std::vector<Found> out;
  for (size_t i = 0; i < layers.size(); ++i)
    for (Direction& d : parts[i]) out.push_back({layers[i], {}, std::move(d)});
  return out;
}

std::vector<NeuronCosines> all_neurons(const Context& c, const WeightsOptions& o) {
  std::vector<NeuronCosines> out;
  const std::vector<int> layers = layers_or_all(c.model->config(), o);
  if (c.progress) c.progress->begin("neurons", static_cast<double>(layers.size()));
  for (const int l : layers) {
    const auto part = neuron_cosines(read_mlp(*c.model, l), l);
    out.insert(out.end(), part.begin(), part.end());
    if (c.progress) c.progress->step();
  }
  return out;
}

Json link_rows(const Context& c, const WeightsOptions& o) {
  std::vector<StreamLink> links = stream_links(*c.model, {}, {}, c.progress);
  std::erase_if(
      links, [&](const StreamLink& l) { return !o.layers.empty() && l.from_layer != o.layers[0] && l.to_layer != o.layers[0]; });
  const double random = 1 / std::sqrt(static_cast<double>(c.model->config().d_model));
  std::stable_sort(links.begin(), links.end(), [](const StreamLink& a, const StreamLink& b) { return a.rms > b.rms; });
  links.resize(rows_wanted(o, std::ssize(links), 0));
  Json rows = Json::array();
  for (const StreamLink& l : links)
    rows.push_back({{"kind", "link"},
                    {"from", {{"layer", l.from_layer}, {"matrix", l.writer}}},
                    {"to", {{"layer", l.to_layer}, {"matrix", l.reader}}},
                    {"score", l.rms},
                    {"baseline", random},
                    {"mean_magnitude", l.mean_magnitude},
                    {"extreme", {{"cosine", l.extreme}, {"from_index", l.writer_index}, {"to_index", l.reader_index}}}});
  return {{"rows", std::move(rows)}};
}

}  // namespace

Json svd_rows(const Context& c, const WeightsOptions& o) {
  const std::vector<Found> found = o.circuit == "ov" || o.circuit == "qk" ? head_directions(c, o) : mlp_directions(c, o);
  std::vector<std::vector<float>> directions;
  std::vector<StreamSide> sides;
  for (const Found& f : found) directions.push_back(f.direction.vector), sides.push_back(f.direction.side);
  const auto tokens = read_tokens(Vocabulary(*c.model, o.embedding, c.progress), directions, sides, o.tokens);
  const bool qk = o.circuit == "qk";
  Json rows = Json::array();
  for (int64_t i = 0; i < rows_wanted(o, std::ssize(found), 0); ++i) {
    const Direction& d = found[i].direction;
    rows.push_back({{"layer", found[i].layer},
                    {"head", found[i].head ? Json(*found[i].head) : Json()},
                    {"circuit", o.circuit},
                    {"index", d.index},
                    {"side", qk ? (d.left ? "query" : "key") : (d.left ? "read" : "write")},
                    {"score", d.value},
                    {"share", d.share},
                    {"tokens", tokens_json(c, tokens[i].top)},
                    {"lowest", tokens_json(c, tokens[i].lowest)}});
  }
  return {{"rows", std::move(rows)}};
}

Json neuron_rows(const Context& c, const WeightsOptions& o) {
  const Config& config = c.model->config();
  std::vector<NeuronCosines> all = all_neurons(c, o);
  std::stable_sort(all.begin(), all.end(),
                   [](const NeuronCosines& a, const NeuronCosines& b) { return std::abs(a.input) > std::abs(b.input); });
  all.resize(rows_wanted(o, std::ssize(all), 50));
  std::vector<std::vector<float>> directions;
  std::vector<StreamSide> sides;
  int layer = -1;
  MlpWeights w;
  std::vector<size_t> order(all.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return all[a].layer < all[b].layer; });
  directions.resize(2 * all.size());
  sides.resize(2 * all.size(), StreamSide::kEmbed);
  for (const size_t i : order) {
    if (o.tokens == 0) break;
    if (c.progress) c.progress->check();
    if (all[i].layer != layer) w = read_mlp(*c.model, layer = all[i].layer);
    for (int64_t j = 0; j < w.d; ++j) directions[2 * i].push_back(w.w_in[j * w.m + all[i].neuron]);
    directions[2 * i + 1].assign(w.w_out.begin() + all[i].neuron * w.d, w.w_out.begin() + (all[i].neuron + 1) * w.d);
    sides[2 * i + 1] = StreamSide::kUnembed;
  }
  std::vector<DirectionTokens> tokens(directions.size());
  if (o.tokens > 0) tokens = read_tokens(Vocabulary(*c.model, o.embedding, c.progress), directions, sides, o.tokens);
  Json rows = Json::array();
  for (size_t i = 0; i < all.size(); ++i)
    rows.push_back({{"layer", all[i].layer},
                    {"head", nullptr},
                    {"neuron", all[i].neuron},
                    {"score", all[i].input},
                    {"cos_in", all[i].input},
                    {"cos_gate", config.gated_mlp ? Json(all[i].gate) : Json()},
                    {"reads", tokens_json(c, tokens[2 * i].top)},
                    {"writes", tokens_json(c, tokens[2 * i + 1].top)},
                    {"lowers", tokens_json(c, tokens[2 * i + 1].lowest)}});
  return {{"baseline_sd", 1 / std::sqrt(static_cast<double>(config.d_model))}, {"rows", std::move(rows)}};
}

Json residual_rows(const Context& c, const WeightsOptions& o) {
  if (o.show == "links") return link_rows(c, o);
  const double sign = o.show == "deletion" ? 1 : -1;
  struct Row {
    double score;
    Json json;
  };
  std::vector<Row> all;
  for (const HeadDeletion& d : deletion(read_heads(*c.model, o.heads, 0, c.progress), c.progress))
    all.push_back(
        {sign * d.score,
         {{"kind", "head"},
          {"layer", d.id.layer},
          {"head", d.id.head},
          {"neuron", nullptr},
          {"score", sign * d.score},
          {"nearest", {(sign > 0 ? d.nearest : d.nearest_copy).real(), (sign > 0 ? d.nearest : d.nearest_copy).imag()}}}});
  if (c.model->config().mlp)
    for (const NeuronCosines& n : all_neurons(c, o)) {
      Json row{{"kind", "neuron"}, {"layer", n.layer}, {"head", nullptr}, {"neuron", n.neuron}, {"score", -sign * n.input}};
      row["cos_in"] = n.input;
      if (c.model->config().gated_mlp) row["cos_gate"] = n.gate;
      all.push_back({-sign * n.input, std::move(row)});
    }
  std::stable_sort(all.begin(), all.end(), [](const Row& a, const Row& b) { return a.score > b.score; });
  all.resize(rows_wanted(o, std::ssize(all), 50));
  Json rows = Json::array();
  for (Row& r : all) rows.push_back(std::move(r.json));
  return {{"rows", std::move(rows)}};
}

}  // namespace microtome::api
