// Attention-only models in TransformerLens' layout: config.json with "model_type": "attn_only", tensors named as its state dict.
// Weights are stored per head: W_Q, W_K, W_V [H, D, K], W_O [H, K, D].
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/model/families/config_reader.h"
#include "microtome/model/families/family.h"

namespace microtome {
namespace {

bool matches(const Checkpoint& c) { return c.format() != CheckpointFormat::kGguf && architecture_of(c) == "attn_only"; }

Config configure(const Checkpoint& checkpoint) {
  const ConfigReader r(checkpoint.config());
  Config c;
  c.family = "attn_only";
  c.mlp = c.gated_mlp = false;
  c.n_layers = r.integer("n_layers");
  c.d_model = r.integer("d_model");
  c.n_heads = r.integer("n_heads");
  c.n_kv_heads = r.integer("n_kv_heads", c.n_heads);
  c.d_head = r.integer("d_head");
  c.vocab = r.integer("vocab");
  c.context = r.integer("context");
  c.eps = static_cast<float>(r.number("eps", 1e-5));
  // Absent or null: none.
  const std::string norm = r.text("normalization", "");
  if (norm == "LN") c.norm = NormKind::kLayerNorm;
  else if (norm == "LNPre") c.norm = NormKind::kLayerNormPre;
  else if (norm.empty()) c.norm = NormKind::kNone;
  else
    throw Error(ErrorKind::kUnsupported, "config.json: normalization \"{}\" is not supported; known are LN, LNPre, null",
                printable(norm));
  const std::string positions = r.text("positions", "standard");
  if (positions == "standard") c.positions = PositionKind::kLearned;
  else if (positions == "shortformer") c.positions = PositionKind::kShortformer;
  else if (positions == "rotary") c.positions = PositionKind::kRotary;
  else
    throw Error(ErrorKind::kUnsupported,
                "config.json: positions \"{}\" is not supported; known are standard, shortformer, rotary", printable(positions));
  if (c.positions == PositionKind::kRotary) {
    c.rotary = r.integer("rotary_dim", c.d_head);
    c.rope_theta = r.number("rope_theta", 10000);
    c.rope_adjacent = r.boolean("rotary_adjacent_pairs", false);
  }
  c.attention_scale =
      static_cast<float>(1.0 / r.number("attn_scale", std::sqrt(static_cast<double>(std::max<int64_t>(1, c.d_head)))));
  return c;
}

void bind(const Checkpoint& checkpoint, const Config& c, Weights& w) {
  const int64_t d = c.d_model, h = c.n_heads, kv = c.n_kv_heads, k = c.d_head;
  const auto has = [&](const std::string& name) { return checkpoint.find(name) != nullptr; };
  const auto norm = [&](NormWeights& n, const std::string& name) {
    if (c.norm != NormKind::kLayerNorm) return;
    declare(w, n.gamma, vector_slot(name + ".w", d));
    declare(w, n.beta, vector_slot(name + ".b", d));
  };
  declare(w, w.embed, d, c.vocab, linear_slot("embed.W_E", c.vocab, d));
  declare(w, w.unembed, d, c.vocab, conv1d_slot("unembed.W_U", d, c.vocab, 0, c.vocab));
  if (has("unembed.b_U")) declare(w, w.b_unembed, vector_slot("unembed.b_U", c.vocab));
  if (c.positions != PositionKind::kRotary)
    declare(w, w.positions, {"pos_embed.W_pos", {c.context, d}, 0, 0, {{c.context * d, 1}}});
  norm(w.final_norm, "ln_final");
  for (int64_t i = 0; i < c.n_layers; ++i) {
    LayerWeights& l = w.layers[i];
    const std::string a = fmt::format("blocks.{}.attn.", i);
    const auto projection = [&](Matrix& matrix, Vector& bias, const char* name, int64_t heads) {
      declare(w, matrix, d, heads * k, {fmt::format("{}W_{}", a, name), {heads, d, k}, 0, k, {{heads, d * k}, {k, 1}}});
      const std::string b = fmt::format("{}b_{}", a, name);
      if (has(b)) declare(w, bias, {b, {heads, k}, 0, 0, {{heads * k, 1}}});
    };
    norm(l.ln1, fmt::format("blocks.{}.ln1", i));
    projection(l.w_q, l.b_q, "Q", h);
    projection(l.w_k, l.b_k, "K", kv);
    projection(l.w_v, l.b_v, "V", kv);
    declare(w, l.w_o, h * k, d, {a + "W_O", {h, k, d}, 0, d, {{d, 1}}});
    if (has(a + "b_O")) declare(w, l.b_o, vector_slot(a + "b_O", d));
  }
}

}  // namespace

const Family kAttnOnlyFamily{"attn_only", matches, configure, bind};

}  // namespace microtome
