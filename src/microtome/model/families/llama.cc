// Llama 2 and 3 and what shares their block: RMSNorm, rotary positions, grouped queries, SwiGLU; biases optional.
// Checkpoints: Hugging Face (model_type "llama") and GGUF (architecture "llama").
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/model/families/config_reader.h"
#include "microtome/model/families/family.h"

namespace microtome {
namespace {

bool matches(const Checkpoint& c) { return architecture_of(c) == "llama"; }

Config base_config() {
  Config c;
  c.family = "llama";
  c.norm = NormKind::kRmsNorm;
  c.positions = PositionKind::kRotary;
  c.gated_mlp = true;
  return c;
}

void finish(Config& c) {
  c.rotary = c.rotary == 0 ? c.d_head : c.rotary;
  c.attention_scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(c.d_head)));
}

Config configure_huggingface(const Checkpoint& checkpoint) {
  const ConfigReader r(checkpoint.config());
  Config c = base_config();
  c.n_layers = r.integer("num_hidden_layers");
  c.d_model = r.integer("hidden_size");
  c.n_heads = r.integer("num_attention_heads");
  c.n_kv_heads = r.integer("num_key_value_heads", c.n_heads);
  c.d_head = r.integer("head_dim", c.n_heads > 0 ? c.d_model / c.n_heads : 0);
  c.d_mlp = r.integer("intermediate_size");
  c.vocab = r.integer("vocab_size");
  c.context = r.integer("max_position_embeddings", 2048);
  c.eps = static_cast<float>(r.number("rms_norm_eps", 1e-6));
  c.activation = read_activation(r.text("hidden_act", "silu"));
  c.tied = r.boolean("tie_word_embeddings", false);
  read_rope(r, c, "rope_theta", 10000);
  finish(c);
  return c;
}

Config configure_gguf(const Checkpoint& checkpoint) {
  const Metadata& m = checkpoint.metadata();
  const auto integer = [&](const char* key, std::optional<int64_t> fallback = {}) {
    const auto v = m.u64(fmt::format("llama.{}", key));
    if (!v && !fallback) throw Error(ErrorKind::kCorrupt, "gguf: metadata \"llama.{}\" is missing", key);
    return v && *v <= uint64_t{1} << 40 ? static_cast<int64_t>(*v) : v ? int64_t{-1} : *fallback;
  };
  Config c = base_config();
  c.n_layers = integer("block_count");
  c.d_model = integer("embedding_length");
  c.n_heads = integer("attention.head_count");
  c.n_kv_heads = integer("attention.head_count_kv", c.n_heads);
  c.d_head = integer("attention.key_length", c.n_heads > 0 ? c.d_model / c.n_heads : 0);
  c.d_mlp = integer("feed_forward_length");
  c.context = integer("context_length");
  c.rotary = integer("rope.dimension_count", c.d_head);
  c.vocab = checkpoint.get("token_embd.weight").shape.empty() ? 0 : checkpoint.get("token_embd.weight").shape[0];
  c.eps = static_cast<float>(m.f64("llama.attention.layer_norm_rms_epsilon").value_or(1e-5));
  c.rope_theta = m.f64("llama.rope.freq_base").value_or(10000);
  c.tied = checkpoint.find("output.weight") == nullptr;
  if (const auto scaling = m.string("llama.rope.scaling.type"); scaling && *scaling == "linear") {
    c.rope_scaling.kind = RopeScaling::Kind::kLinear;
    c.rope_scaling.factor = m.f64("llama.rope.scaling.factor").value_or(1);
  } else if (scaling && *scaling != "none") {
    throw Error(ErrorKind::kUnsupported, "gguf: rope scaling \"{}\" is not supported; known are none, linear",
                printable(*scaling));
  }
  if (const CheckpointTensor* t = checkpoint.find("rope_freqs.weight")) {
    if (t->dtype != DType::kF32 || t->shape != Shape{c.rotary / 2})
      throw Error(ErrorKind::kCorrupt, "gguf: tensor \"rope_freqs.weight\" is {} {}, expected F32 [{}]", dtype_name(t->dtype),
                  to_string(t->shape), c.rotary / 2);
    c.rope_divisors.resize(c.rotary / 2);
    widen(t->dtype, t->data.data(), c.rotary / 2, c.rope_divisors.data());
  }
  finish(c);
  return c;
}

Config configure(const Checkpoint& checkpoint) {
  return checkpoint.format() == CheckpointFormat::kGguf ? configure_gguf(checkpoint) : configure_huggingface(checkpoint);
}

// llama.cpp stores the rows of q and k for interleaved pairs: row 2 i + half of a head is Hugging Face's row half * K/2 + i.
Slot permuted_slot(std::string tensor, int64_t heads, int64_t d_head, int64_t in) {
  return {std::move(tensor),     {heads * d_head, in}, 0, 1, {{heads, d_head * in}, {2, in}, {d_head / 2, 2 * in}},
          {{heads * d_head, in}}};
}
Slot permuted_vector(std::string tensor, int64_t heads, int64_t d_head) {
  return {std::move(tensor), {heads * d_head}, 0, 0, {{heads, d_head}, {2, 1}, {d_head / 2, 2}}, {{heads * d_head, 1}}};
}

void bind_gguf(const Checkpoint& checkpoint, const Config& c, Weights& w) {
  const auto has = [&](const std::string& name) { return checkpoint.find(name) != nullptr; };
  const int64_t q = c.n_heads * c.d_head, kv = c.n_kv_heads * c.d_head, d = c.d_model;
  declare(w, w.embed, d, c.vocab, linear_slot("token_embd.weight", c.vocab, d));
  if (c.tied) w.unembed = w.embed;
  else declare(w, w.unembed, d, c.vocab, linear_slot("output.weight", c.vocab, d));
  declare(w, w.final_norm.gamma, vector_slot("output_norm.weight", d));
  for (int64_t i = 0; i < c.n_layers; ++i) {
    LayerWeights& l = w.layers[i];
    const std::string p = fmt::format("blk.{}.", i);
    const auto bias = [&](Vector& v, const std::string& name, Slot slot) {
      if (has(p + name)) declare(w, v, std::move(slot));
    };
    declare(w, l.ln1.gamma, vector_slot(p + "attn_norm.weight", d));
    declare(w, l.ln2.gamma, vector_slot(p + "ffn_norm.weight", d));
    declare(w, l.w_q, d, q, permuted_slot(p + "attn_q.weight", c.n_heads, c.d_head, d));
    declare(w, l.w_k, d, kv, permuted_slot(p + "attn_k.weight", c.n_kv_heads, c.d_head, d));
    declare(w, l.w_v, d, kv, linear_slot(p + "attn_v.weight", kv, d));
    declare(w, l.w_o, q, d, linear_slot(p + "attn_output.weight", d, q));
    bias(l.b_q, "attn_q.bias", permuted_vector(p + "attn_q.bias", c.n_heads, c.d_head));
    bias(l.b_k, "attn_k.bias", permuted_vector(p + "attn_k.bias", c.n_kv_heads, c.d_head));
    bias(l.b_v, "attn_v.bias", vector_slot(p + "attn_v.bias", kv));
    bias(l.b_o, "attn_output.bias", vector_slot(p + "attn_output.bias", d));
    declare(w, l.w_gate, d, c.d_mlp, linear_slot(p + "ffn_gate.weight", c.d_mlp, d));
    declare(w, l.w_in, d, c.d_mlp, linear_slot(p + "ffn_up.weight", c.d_mlp, d));
    declare(w, l.w_out, c.d_mlp, d, linear_slot(p + "ffn_down.weight", d, c.d_mlp));
    bias(l.b_gate, "ffn_gate.bias", vector_slot(p + "ffn_gate.bias", c.d_mlp));
    bias(l.b_in, "ffn_up.bias", vector_slot(p + "ffn_up.bias", c.d_mlp));
    bias(l.b_out, "ffn_down.bias", vector_slot(p + "ffn_down.bias", d));
  }
}

void bind_huggingface(const Checkpoint& checkpoint, const Config& c, Weights& w) {
  const auto has = [&](const std::string& name) { return checkpoint.find(name) != nullptr; };
  const int64_t q = c.n_heads * c.d_head, kv = c.n_kv_heads * c.d_head, d = c.d_model;
  declare(w, w.embed, d, c.vocab, linear_slot("model.embed_tokens.weight", c.vocab, d));
  if (c.tied) w.unembed = w.embed;
  else declare(w, w.unembed, d, c.vocab, linear_slot("lm_head.weight", c.vocab, d));
  declare(w, w.final_norm.gamma, vector_slot("model.norm.weight", d));
  for (int64_t i = 0; i < c.n_layers; ++i) {
    LayerWeights& l = w.layers[i];
    const std::string p = fmt::format("model.layers.{}.", i), a = p + "self_attn.", m = p + "mlp.";
    const auto linear = [&](Matrix& matrix, Vector& bias, const std::string& name, int64_t out, int64_t in) {
      declare(w, matrix, in, out, linear_slot(name + ".weight", out, in));
      if (has(name + ".bias")) declare(w, bias, vector_slot(name + ".bias", out));
    };
    declare(w, l.ln1.gamma, vector_slot(p + "input_layernorm.weight", d));
    declare(w, l.ln2.gamma, vector_slot(p + "post_attention_layernorm.weight", d));
    linear(l.w_q, l.b_q, a + "q_proj", q, d);
    linear(l.w_k, l.b_k, a + "k_proj", kv, d);
    linear(l.w_v, l.b_v, a + "v_proj", kv, d);
    linear(l.w_o, l.b_o, a + "o_proj", d, q);
    linear(l.w_gate, l.b_gate, m + "gate_proj", c.d_mlp, d);
    linear(l.w_in, l.b_in, m + "up_proj", c.d_mlp, d);
    linear(l.w_out, l.b_out, m + "down_proj", d, c.d_mlp);
  }
}

void bind(const Checkpoint& checkpoint, const Config& c, Weights& w) {
  if (checkpoint.format() == CheckpointFormat::kGguf) bind_gguf(checkpoint, c, w);
  else bind_huggingface(checkpoint, c, w);
}

}  // namespace

const Family kLlamaFamily{"llama", matches, configure, bind};

}  // namespace microtome
