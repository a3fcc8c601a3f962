// GPT-2: LayerNorm, learned positions, fused Conv1D projections ([in, out] in the checkpoint), tanh-GELU, tied embedding.
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/model/families/config_reader.h"
#include "microtome/model/families/family.h"

namespace microtome {
namespace {

bool matches(const Checkpoint& c) { return c.format() != CheckpointFormat::kGguf && architecture_of(c) == "gpt2"; }

Config configure(const Checkpoint& checkpoint) {
  const ConfigReader r(checkpoint.config());
  Config c;
  c.family = "gpt2";
  c.norm = NormKind::kLayerNorm;
  c.positions = PositionKind::kLearned;
  c.gated_mlp = false;
  c.n_layers = r.integer("n_layer");
  c.d_model = r.integer("n_embd");
  c.n_heads = c.n_kv_heads = r.integer("n_head");
  if (c.n_heads < 1 || c.d_model % c.n_heads != 0)
    throw Error(ErrorKind::kCorrupt, "config.json: n_embd {} is not a multiple of n_head {}", c.d_model, c.n_heads);
  c.d_head = c.d_model / c.n_heads;
  c.d_mlp = r.integer("n_inner", 4 * c.d_model);
  c.vocab = r.integer("vocab_size");
  c.context = r.integer("n_positions", r.integer("n_ctx", 1024));
  c.eps = static_cast<float>(r.number("layer_norm_epsilon", 1e-5));
  c.activation = read_activation(r.text("activation_function", "gelu_new"));
  c.tied = r.boolean("tie_word_embeddings", true);
  c.attention_scale =
      r.boolean("scale_attn_weights", true) ? static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.d_head))) : 1.0f;
  if (r.boolean("scale_attn_by_inverse_layer_idx", false))
    throw Error(ErrorKind::kUnsupported, "config.json: scale_attn_by_inverse_layer_idx is not supported");
  return c;
}

void bind(const Checkpoint& checkpoint, const Config& c, Weights& w) {
  // Saved from GPT2LMHeadModel ("transformer.") or from the bare model.
  const std::string t = checkpoint.find("transformer.wte.weight") ? "transformer." : "";
  const int64_t d = c.d_model, m = c.d_mlp;
  declare(w, w.embed, d, c.vocab, linear_slot(t + "wte.weight", c.vocab, d));
  if (c.tied) w.unembed = w.embed;
  else declare(w, w.unembed, d, c.vocab, linear_slot("lm_head.weight", c.vocab, d));
  declare(w, w.positions, {t + "wpe.weight", {c.context, d}, 0, 0, {{c.context * d, 1}}});
  declare(w, w.final_norm.gamma, vector_slot(t + "ln_f.weight", d));
  declare(w, w.final_norm.beta, vector_slot(t + "ln_f.bias", d));
  for (int64_t i = 0; i < c.n_layers; ++i) {
    LayerWeights& l = w.layers[i];
    const std::string p = fmt::format("{}h.{}.", t, i);
    const auto norm = [&](NormWeights& n, const std::string& name) {
      declare(w, n.gamma, vector_slot(p + name + ".weight", d));
      declare(w, n.beta, vector_slot(p + name + ".bias", d));
    };
    const auto part = [&](Matrix& matrix, Vector& bias, const std::string& name, int64_t in, int64_t total, int64_t begin,
                          int64_t width) {
      declare(w, matrix, in, width, conv1d_slot(p + name + ".weight", in, total, begin, width));
      declare(w, bias, vector_slot(p + name + ".bias", width, begin, total));
    };
    norm(l.ln1, "ln_1");
    norm(l.ln2, "ln_2");
    part(l.w_q, l.b_q, "attn.c_attn", d, 3 * d, 0, d);
    part(l.w_k, l.b_k, "attn.c_attn", d, 3 * d, d, d);
    part(l.w_v, l.b_v, "attn.c_attn", d, 3 * d, 2 * d, d);
    part(l.w_o, l.b_o, "attn.c_proj", d, d, 0, d);
    part(l.w_in, l.b_in, "mlp.c_fc", d, m, 0, m);
    part(l.w_out, l.b_out, "mlp.c_proj", m, d, 0, d);
  }
}

}  // namespace

const Family kGpt2Family{"gpt2", matches, configure, bind};

}  // namespace microtome
