// GPT-NeoX and Pythia: LayerNorm, partial rotary positions, biases, attention and MLP in parallel (or serial), GELU; the fused
// projection holds q, k, v of head 0, then of head 1, ...
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/model/families/config_reader.h"
#include "microtome/model/families/family.h"

namespace microtome {
namespace {

bool matches(const Checkpoint& c) { return c.format() != CheckpointFormat::kGguf && architecture_of(c) == "gpt_neox"; }

Config configure(const Checkpoint& checkpoint) {
  const ConfigReader r(checkpoint.config());
  Config c;
  c.family = "gpt_neox";
  c.norm = NormKind::kLayerNorm;
  c.positions = PositionKind::kRotary;
  c.gated_mlp = false;
  c.n_layers = r.integer("num_hidden_layers");
  c.d_model = r.integer("hidden_size");
  c.n_heads = c.n_kv_heads = r.integer("num_attention_heads");
  if (c.n_heads < 1 || c.d_model % c.n_heads != 0)
    throw Error(ErrorKind::kCorrupt, "config.json: hidden_size {} is not a multiple of num_attention_heads {}", c.d_model,
                c.n_heads);
  c.d_head = c.d_model / c.n_heads;
  c.d_mlp = r.integer("intermediate_size");
  c.vocab = r.integer("vocab_size");
  c.context = r.integer("max_position_embeddings", 2048);
  c.eps = static_cast<float>(r.number("layer_norm_eps", 1e-5));
  c.activation = read_activation(r.text("hidden_act", "gelu"));
  c.parallel = r.boolean("use_parallel_residual", true);
  c.tied = r.boolean("tie_word_embeddings", false);
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.d_head)));
  read_rope(r, c, "rotary_emb_base", 10000);
  const double share = r.object("rope_parameters")
                           .number("partial_rotary_factor", r.number("partial_rotary_factor", r.number("rotary_pct", 0.25)));
  c.rotary = static_cast<int64_t>(static_cast<double>(c.d_head) * share);
  return c;
}

void bind(const Checkpoint& checkpoint, const Config& c, Weights& w) {
  const int64_t d = c.d_model, m = c.d_mlp, h = c.n_heads, k = c.d_head;
  const auto has = [&](const std::string& name) { return checkpoint.find(name) != nullptr; };
  declare(w, w.embed, d, c.vocab, linear_slot("gpt_neox.embed_in.weight", c.vocab, d));
  if (c.tied) w.unembed = w.embed;
  else
    declare(w, w.unembed, d, c.vocab, linear_slot(has("embed_out.weight") ? "embed_out.weight" : "lm_head.weight", c.vocab, d));
  declare(w, w.final_norm.gamma, vector_slot("gpt_neox.final_layer_norm.weight", d));
  declare(w, w.final_norm.beta, vector_slot("gpt_neox.final_layer_norm.bias", d));
  for (int64_t i = 0; i < c.n_layers; ++i) {
    LayerWeights& l = w.layers[i];
    const std::string p = fmt::format("gpt_neox.layers.{}.", i), qkv = p + "attention.query_key_value";
    const auto norm = [&](NormWeights& n, const std::string& name) {
      declare(w, n.gamma, vector_slot(p + name + ".weight", d));
      declare(w, n.beta, vector_slot(p + name + ".bias", d));
    };
    const auto linear = [&](Matrix& matrix, Vector& bias, const std::string& name, int64_t out, int64_t in) {
      declare(w, matrix, in, out, linear_slot(p + name + ".weight", out, in));
      if (has(p + name + ".bias")) declare(w, bias, vector_slot(p + name + ".bias", out));
    };
    const auto third = [&](Matrix& matrix, Vector& bias, int64_t which) {
      declare(w, matrix, d, h * k, {qkv + ".weight", {3 * h * k, d}, which * k * d, 1, {{h, 3 * k * d}, {k, d}}});
      if (has(qkv + ".bias")) declare(w, bias, {qkv + ".bias", {3 * h * k}, which * k, 0, {{h, 3 * k}, {k, 1}}});
    };
    norm(l.ln1, "input_layernorm");
    norm(l.ln2, "post_attention_layernorm");
    third(l.w_q, l.b_q, 0);
    third(l.w_k, l.b_k, 1);
    third(l.w_v, l.b_v, 2);
    linear(l.w_o, l.b_o, "attention.dense", d, h * k);
    linear(l.w_in, l.b_in, "mlp.dense_h_to_4h", m, d);
    linear(l.w_out, l.b_out, "mlp.dense_4h_to_h", d, m);
  }
}

}  // namespace

const Family kGptNeoxFamily{"gpt_neox", matches, configure, bind};

}  // namespace microtome
