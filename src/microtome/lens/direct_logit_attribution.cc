#include "microtome/lens/direct_logit_attribution.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"

namespace microtome {
namespace {

using Kind = LogitComponent::Kind;

double dot(const float* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// W g for W [K, D] packed: what a unit of each input counts.
std::vector<double> read_through(const Matrix& w, const std::vector<double>& g) {
  const int64_t k = w.view.k, d = w.view.n;
  std::vector<float> plain(static_cast<size_t>(k * d));
  unpack(w.view, 0, d, d, 1, plain.data());
  std::vector<double> out(k);
  parallel_for(k, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = dot(plain.data() + i * d, g.data(), d);
  });
  return out;
}

// One position's values of the run.
struct PositionValues {
  std::vector<float> embed, position;
  std::vector<std::vector<float>> z, mlp;  // per layer: [H K], [M]
  double scale = 1;
  std::vector<double> logits;
};

PositionValues run_at(const Model& model, const std::vector<int32_t>& ids, int64_t position, const LogitDirection& direction,
                      Plan plan) {
  const Config& c = model.config();
  PositionValues out;
  out.z.resize(c.n_layers);
  out.mlp.resize(c.n_layers);
  const auto keep = [&](Site site, std::vector<float>& to) {
    plan.read(site, [&to, position](const SiteValue& v) {
      const int64_t n = v.data.row_size();
      to.assign(v.data.f32() + position * n, v.data.f32() + (position + 1) * n);
    });
  };
  keep({SiteKind::kEmbed, -1}, out.embed);
  if (c.positions == PositionKind::kLearned) keep({SiteKind::kPosEmbed, -1}, out.position);
  for (int l = 0; l < c.n_layers; ++l) {
    keep({SiteKind::kZ, l}, out.z[l]);
    if (c.mlp) keep({SiteKind::kMlpPost, l}, out.mlp[l]);
  }
  std::vector<float> scale;
  if (site_exists({SiteKind::kLnFinalScale, -1}, c)) keep({SiteKind::kLnFinalScale, -1}, scale);
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = {static_cast<int32_t>(position)};
  plan.logit_columns = {direction.target};
  if (direction.versus >= 0) plan.logit_columns.push_back(direction.versus);
  Batch batch;
  batch.add_sequence(ids);
  const Tensor logits = forward(model, {.batch = batch, .plan = &plan}).logits.data;
  out.logits.assign(logits.f32(), logits.f32() + logits.numel());
  if (!scale.empty()) out.scale = scale[0];
  return out;
}

// What each head's value bias is, [H_kv K]: b_V + beta W_V.
std::vector<double> value_bias(const LayerWeights& w, int64_t n) {
  std::vector<double> out(n, 0.0);
  if (w.b_v.present())
    for (int64_t i = 0; i < n; ++i) out[i] = w.b_v.data.f32()[i];
  if (!w.ln1.beta.present()) return out;
  const int64_t d = w.w_v.view.k;
  std::vector<float> plain(static_cast<size_t>(d * n));
  unpack(w.w_v.view, 0, n, n, 1, plain.data());
  for (int64_t i = 0; i < d; ++i)
    for (int64_t j = 0; j < n; ++j) out[j] += static_cast<double>(w.ln1.beta.data.f32()[i]) * plain[i * n + j];
  return out;
}

class Attribution {
 public:
  Attribution(const Model& model, const PositionValues& values, StreamDirection direction,
              const DirectAttributionOptions& options)
      : model_(model), config_(model.config()), values_(values), direction_(std::move(direction)), options_(options) {}

  DirectAttribution run(bool edited) {
    add(Kind::kEmbed, -1, dot(values_.embed.data(), direction_.weight.data(), config_.d_model));
    if (!values_.position.empty())
      add(Kind::kPosition, -1, dot(values_.position.data(), direction_.weight.data(), config_.d_model));
    for (int l = 0; l < config_.n_layers; ++l) {
      attention(l);
      if (config_.mlp) mlp(l);
    }
    if (model_.weights().final_norm.beta.present()) add(Kind::kNormBias, -1, direction_.norm_bias);
    if (model_.weights().b_unembed.present()) add(Kind::kUnembedBias, -1, direction_.unembed_bias);
    for (const LogitComponent& c : out_.components) out_.total += c.logit;
    out_.logit = values_.logits[0] - (values_.logits.size() > 1 ? values_.logits[1] : 0);
    if (edited) {
      add(Kind::kEdits, -1, out_.logit - out_.total);
      out_.total = out_.logit;
    }
    return std::move(out_);
  }

 private:
  LogitComponent& add(Kind kind, int layer, double logit) {
    out_.components.push_back({.kind = kind, .layer = layer, .logit = logit});
    return out_.components.back();
  }

  void attention(int l) {
    const LayerWeights& w = model_.weights().layers[l];
    const int64_t k = config_.d_head, group = config_.n_heads / config_.n_kv_heads;
    const std::vector<double> read = read_through(w.w_o, direction_.weight);
    const std::vector<double> bias =
        options_.folded ? value_bias(w, config_.n_kv_heads * k) : std::vector<double>(config_.n_kv_heads * k, 0.0);
    double from_bias = w.b_o.present() ? dot(w.b_o.data.f32(), direction_.weight.data(), config_.d_model) : 0;
    for (int64_t h = 0; h < config_.n_heads; ++h) {
      double whole = dot(values_.z[l].data() + h * k, read.data() + h * k, k), constant = 0;
      for (int64_t i = 0; i < k; ++i) constant += bias[h / group * k + i] * read[h * k + i];
      add(Kind::kHead, l, whole - constant).head = static_cast<int>(h);
      from_bias += constant;
    }
    const bool any = w.b_o.present() || (options_.folded && (w.b_v.present() || w.ln1.beta.present()));
    if (any) add(Kind::kAttentionBias, l, from_bias);
  }

  void mlp(int l) {
    const LayerWeights& w = model_.weights().layers[l];
    const std::vector<double> read = read_through(w.w_out, direction_.weight);
    double sum = 0;
    for (int64_t n = 0; n < config_.d_mlp; ++n) {
      const double share = values_.mlp[l][n] * read[n];
      sum += share;
      keep_neuron({.kind = Kind::kNeuron, .layer = l, .neuron = static_cast<int>(n), .logit = share});
    }
    add(Kind::kMlp, l, sum);
    if (w.b_out.present()) add(Kind::kMlpBias, l, dot(w.b_out.data.f32(), direction_.weight.data(), config_.d_model));
  }

  // Kept sorted: the largest share first, ties in forward order.
  void keep_neuron(const LogitComponent& c) {
    auto& kept = out_.neurons;
    if (options_.top_neurons <= 0) return;
    if (std::ssize(kept) == options_.top_neurons && std::abs(kept.back().logit) >= std::abs(c.logit)) return;
    const auto at = std::find_if(kept.begin(), kept.end(), [&](const auto& o) { return std::abs(o.logit) < std::abs(c.logit); });
    kept.insert(at, c);
    if (std::ssize(kept) > options_.top_neurons) kept.pop_back();
  }

  const Model& model_;
  const Config& config_;
  const PositionValues& values_;
  StreamDirection direction_;
  DirectAttributionOptions options_;
  DirectAttribution out_;
};

}  // namespace

std::string LogitComponent::name() const {
  switch (kind) {
    case Kind::kEmbed: return "embed";
    case Kind::kPosition: return "position";
    case Kind::kHead: return fmt::format("a{}.h{}", layer, head);
    case Kind::kAttentionBias: return fmt::format("a{}.bias", layer);
    case Kind::kMlp: return fmt::format("m{}", layer);
    case Kind::kMlpBias: return fmt::format("m{}.bias", layer);
    case Kind::kNeuron: return fmt::format("m{}.n{}", layer, neuron);
    case Kind::kNormBias: return "final.bias";
    case Kind::kUnembedBias: return "unembed.bias";
    case Kind::kEdits: return "edits";
  }
  return "";
}

StreamDirection stream_direction(const Model& model, const LogitDirection& direction, double scale) {
  const Config& c = model.config();
  const Weights& w = model.weights();
  StreamDirection out;
  out.weight.assign(c.d_model, 0.0);
  const auto add = [&](int32_t token, double sign) {
    if (token < 0 || token >= c.vocab)
      throw Error(ErrorKind::kInvalidArgument, "token id {} is outside of the vocabulary of {}", token, c.vocab);
    std::vector<float> column(c.d_model);
    unpack(w.unembed.view, token, token + 1, 1, 1, column.data());
    for (int64_t i = 0; i < c.d_model; ++i) out.weight[i] += sign * column[i];
    if (w.b_unembed.present()) out.unembed_bias += sign * w.b_unembed.data.f32()[token];
  };
  add(direction.target, 1);
  if (direction.versus != -1) add(direction.versus, -1);
  if (!c.final_norm || c.norm == NormKind::kNone) return out;
  const NormWeights& norm = w.final_norm;
  double mean = 0;
  for (int64_t i = 0; i < c.d_model; ++i) {
    if (norm.beta.present()) out.norm_bias += out.weight[i] * norm.beta.data.f32()[i];
    if (norm.gamma.present()) out.weight[i] *= norm.gamma.data.f32()[i];
    mean += out.weight[i] / static_cast<double>(c.d_model);
  }
  for (double& x : out.weight) x = (x - (c.norm == NormKind::kRmsNorm ? 0 : mean)) / scale;
  return out;
}

DirectAttribution direct_logit_attribution(const Model& model, const std::vector<int32_t>& ids, const LogitDirection& direction,
                                           const DirectAttributionOptions& options, const Plan* edits) {
  const int64_t n = std::ssize(ids), position = options.position < 0 ? n + options.position : options.position;
  if (position < 0 || position >= n)
    throw Error(ErrorKind::kInvalidArgument, "position {} is outside of the prompt's {} tokens", options.position, n);
  stream_direction(model, direction, 1);  // refuses tokens before anything runs
  const PositionValues values = run_at(model, ids, position, direction, edits ? *edits : Plan());
  return Attribution(model, values, stream_direction(model, direction, values.scale), options).run(edits && !edits->empty());
}

}  // namespace microtome
