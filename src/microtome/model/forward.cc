#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/model/pass.h"
#include "microtome/ops/linear.h"

namespace microtome {
namespace {

void check_input(const Model& model, const Batch& batch, bool embeds) {
  const Config& c = model.config();
  if (embeds)
    for (const int32_t t : batch.tokens)
      if (t < 0 || t >= c.vocab)
        throw Error(ErrorKind::kInvalidArgument, "token id {} is outside of the vocabulary of {}", t, c.vocab);
  const bool learned = c.positions == PositionKind::kLearned || c.positions == PositionKind::kShortformer;
  for (const int32_t p : batch.positions)
    if (p < 0 || (learned && p >= c.context))
      throw Error(ErrorKind::kInvalidArgument, "position {} is beyond the model's {} positions; give a shorter text", p,
                  c.context);
}

OpContext counted(OpContext ctx, int64_t* macs) {
  ctx.macs = macs;
  return ctx;
}

const Plan kEmptyPlan;

}  // namespace

Pass::Pass(const Model& model, const ForwardInput& in)
    : model_(model),
      config_(model.config()),
      in_(in),
      batch_(in.batch),
      tape_(in.tape),
      ctx_(counted(model.context(), in.macs)),
      plan_(in.plan ? *in.plan : kEmptyPlan, model.config()),
      attention_(in.attention ? *in.attention : *dense_attention()) {
  int32_t last = 0;
  for (const int32_t p : batch_.positions) last = std::max(last, p);
  rope_.table = model.rope_table(last);
  rope_.positions = std::make_shared<std::vector<int32_t>>(batch_.positions);
}

Forward Pass::run() {
  Value resid = in_.residual.defined() ? in_.residual : embed();
  const int stop = plan_.plan().stop_after_layer;
  const int n = static_cast<int>(config_.n_layers), last = stop >= 0 ? std::min(stop + 1, n) : n;
  for (int l = in_.first_layer; l < last; ++l) {
    if (in_.progress) in_.progress->check();
    resid = block(l, resid);
  }
  Forward out;
  if (stop < 0) out = unembed_rows(resid);
  out.residual = resid;
  return out;
}

Value Pass::linear(const Value& x, const Matrix& w, const Vector& b) const {
  return call<Linear>(tape_, ctx_, {w.view, model_.compute(), in_.backward}, x, leaf(w), leaf(b));
}

Value Pass::embed() const {
  Value e = call<Embedding>(tape_, ctx_, {model_.weights().embed.view, batch_.tokens}, leaf(model_.weights().embed));
  e = site(SiteKind::kEmbed, -1, e);
  if (config_.positions != PositionKind::kLearned) return e;
  return call<Add>(tape_, ctx_, {}, e, position_embedding());
}

// W_pos of every row, [rows, D]: looked up, and its site visited, once a pass.
Value Pass::position_embedding() const {
  if (!positions_.defined()) {
    Value w = leaf(model_.weights().positions);
    w.data = w.data.view({config_.context, config_.d_model});
    positions_ = site(SiteKind::kPosEmbed, -1, call<GatherRows>(tape_, ctx_, {batch_.positions, config_.context}, w));
  }
  return positions_;
}

Norm::Params Pass::norm_params() const { return {config_.norm != NormKind::kRmsNorm, config_.eps}; }

// The norm of x, through its sites where the plan looks at them.
Value Pass::norm(const Value& x, const NormWeights& w, SiteKind scale_site, SiteKind normalized_site, int layer) const {
  if (config_.norm == NormKind::kNone) return x;
  if (!plan_.any_of({scale_site, normalized_site}, layer))
    return call<Norm>(tape_, ctx_, norm_params(), x, leaf(w.gamma), leaf(w.beta));
  const Value scale = site(scale_site, layer, call<NormScale>(tape_, ctx_, norm_params(), x));
  const Value n = site(normalized_site, layer, call<NormNormalize>(tape_, ctx_, norm_params(), x, scale));
  return call<NormAffine>(tape_, ctx_, {}, n, leaf(w.gamma), leaf(w.beta));
}

Value Pass::block(int l, const Value& input) {
  const Value resid_pre = site(SiteKind::kResidPre, l, input);
  const Value attn_out = attention_out(l, resid_pre);
  Value stream = call<Add>(tape_, ctx_, {}, resid_pre, attn_out);
  if (config_.mlp) {
    if (!config_.parallel) stream = site(SiteKind::kResidMid, l, stream);
    const Value mlp_out = mlp(l, config_.parallel ? resid_pre : stream);
    stream = call<Add>(tape_, ctx_, {}, stream, mlp_out);
  }
  return site(SiteKind::kResidPost, l, stream);
}

QkvRows Pass::project(int l, const Value& resid) {
  const bool own_inputs = plan_.alters({SiteKind::kAttnIn, SiteKind::kQInput, SiteKind::kKInput, SiteKind::kVInput}, l);
  const QkvRows x = own_inputs ? qkv_per_head(l, resid) : qkv(l, resid);
  return {site(SiteKind::kQ, l, as_heads(x.q, config_.n_heads)), site(SiteKind::kK, l, as_heads(x.k, config_.n_kv_heads)),
          site(SiteKind::kV, l, as_heads(x.v, config_.n_kv_heads))};
}

QkvRows Pass::project_keys(int l, const Value& resid) const {
  const LayerWeights& w = model_.weights().layers[l];
  const Value n = norm(resid, w.ln1, SiteKind::kLn1Scale, SiteKind::kLn1Normalized, l);
  return {{},
          as_heads(linear(query_key_input(l, n), w.w_k, w.b_k), config_.n_kv_heads),
          as_heads(linear(n, w.w_v, w.b_v), config_.n_kv_heads)};
}

Value Pass::project_queries(int l, const Value& resid) const {
  const LayerWeights& w = model_.weights().layers[l];
  return as_heads(linear(query_key_input(l, norm(resid, w.ln1, SiteKind::kLn1Scale, SiteKind::kLn1Normalized, l)), w.w_q, w.b_q),
                  config_.n_heads);
}

AttentionCall Pass::attention_call(int l, QkvRows x) {
  if (caches_.empty())
    for (const Sequence& s : batch_.sequences) {
      if (!s.cache) own_caches_.push_back(std::make_unique<KvCache>(model_.make_cache()));
      caches_.push_back(s.cache ? s.cache : own_caches_.back().get());
    }
  return {config_, batch_, l, tape_, ctx_, plan_, caches_, rope_, std::move(x.q), std::move(x.k), std::move(x.v)};
}

void Pass::remember(int l, const Value& k, const Value& v) {
  AttentionCall call = attention_call(l, {{}, k, v});
  attention_.append(call);
}

Value Pass::attend(int l, const Value& q) { return site(SiteKind::kZ, l, attention_.attend(attention_call(l, {q, {}, {}}))); }

Value Pass::write_heads(int l, const Value& z) const {
  const LayerWeights& w = model_.weights().layers[l];
  Value out = linear(z, w.w_o, w.b_o);
  if (plan_.any(SiteKind::kResult, l)) out = with_result_site(l, z, out);
  return site(SiteKind::kAttnOut, l, out);
}

Value Pass::attention_out(int l, const Value& resid) {
  AttentionCall call = attention_call(l, project(l, resid));
  attention_.append(call);
  return write_heads(l, site(SiteKind::kZ, l, attention_.attend(call)));
}

Value Pass::as_heads(Value x, int64_t heads) const {
  x.data = x.data.view({batch_.rows(), heads, config_.d_head});
  return x;
}

// All heads read the same stream.
QkvRows Pass::qkv(int l, const Value& resid) const {
  const LayerWeights& w = model_.weights().layers[l];
  show_head_inputs(l, resid);
  const Value n = norm(resid, w.ln1, SiteKind::kLn1Scale, SiteKind::kLn1Normalized, l);
  const Value qk = query_key_input(l, n);
  return {linear(qk, w.w_q, w.b_q), linear(qk, w.w_k, w.b_k), linear(n, w.w_v, w.b_v)};
}

// What queries and keys are projected from, given the norm's output.
Value Pass::query_key_input(int l, const Value& n) const {
  if (config_.positions != PositionKind::kShortformer) return n;
  return site(SiteKind::kAttentionInput, l, call<Add>(tape_, ctx_, {}, n, position_embedding()));
}

// Reads at the heads' own inputs, which nobody changes: copies of the stream.
void Pass::show_head_inputs(int l, const Value& resid) const {
  for (const SiteKind kind : {SiteKind::kAttnIn, SiteKind::kQInput, SiteKind::kKInput, SiteKind::kVInput}) {
    if (!plan_.any(kind, l)) continue;
    const int64_t heads = site_heads(site_shape(kind), config_);
    site(kind, l, call<RepeatHeads>(nullptr, ctx_, {heads}, Value(resid.data)));
  }
}

// Heads whose inputs differ: each has a stream, a norm and a product of its own. The same bits where they do not differ.
QkvRows Pass::qkv_per_head(int l, const Value& resid) const {
  const LayerWeights& w = model_.weights().layers[l];
  if (plan_.reads({SiteKind::kLn1Scale, SiteKind::kLn1Normalized, SiteKind::kAttentionInput}, l)) show_shared_norm(l, resid);
  const Value attn_in = site(SiteKind::kAttnIn, l, call<RepeatHeads>(tape_, ctx_, {config_.n_heads}, resid));
  const Value kv_in = call<EveryNthHead>(tape_, ctx_, {config_.n_heads, config_.n_heads / config_.n_kv_heads}, attn_in);
  const auto project = [&](SiteKind kind, const Value& x, const Matrix& m, const Vector& b, bool with_positions) {
    const Value n = head_norm(l, site(kind, l, x), w.ln1, with_positions);
    return call<InputPerHeadLinear>(tape_, ctx_, {m.view, model_.compute()}, n, leaf(m), leaf(b));
  };
  const bool shortformer = config_.positions == PositionKind::kShortformer;
  return {project(SiteKind::kQInput, attn_in, w.w_q, w.b_q, shortformer),
          project(SiteKind::kKInput, kv_in, w.w_k, w.b_k, shortformer), project(SiteKind::kVInput, kv_in, w.w_v, w.b_v, false)};
}

Value Pass::head_norm(int l, const Value& x, const NormWeights& w, bool with_positions) const {
  Value n = x;
  if (config_.norm != NormKind::kNone) {
    const Value scale = site_per_head(SiteKind::kLn1Scale, l, call<NormScale>(tape_, ctx_, norm_params(), x));
    n = site_per_head(SiteKind::kLn1Normalized, l, call<NormNormalize>(tape_, ctx_, norm_params(), x, scale));
    n = call<NormAffine>(tape_, ctx_, {}, n, leaf(w.gamma), leaf(w.beta));
  }
  if (!with_positions) return n;
  const Value positions = call<RepeatHeads>(tape_, ctx_, {x.data.size(1)}, position_embedding());
  return site_per_head(SiteKind::kAttentionInput, l, call<Add>(tape_, ctx_, {}, n, positions));
}

// What the shared stream's sites would show, for reads while heads have streams of their own.
void Pass::show_shared_norm(int l, const Value& resid) const {
  if (config_.norm == NormKind::kNone) return;
  const auto show = [&](SiteKind kind, const Tensor& t) {
    return plan_.any(kind, l) ? plan_.visit(nullptr, ctx_, batch_, {kind, l}, -1, Value(t)).data : t;
  };
  const Value x(resid.data);
  const Tensor scale = show(SiteKind::kLn1Scale, call<NormScale>(nullptr, ctx_, norm_params(), x).data);
  const Tensor n = show(SiteKind::kLn1Normalized, call<NormNormalize>(nullptr, ctx_, norm_params(), x, Value(scale)).data);
  if (config_.positions != PositionKind::kShortformer) return;
  const LayerWeights& w = model_.weights().layers[l];
  const Value affine = call<NormAffine>(nullptr, ctx_, {}, Value(n), Value(w.ln1.gamma.data), Value(w.ln1.beta.data));
  show(SiteKind::kAttentionInput, call<Add>(nullptr, ctx_, {}, affine, Value(position_embedding().data)).data);
}

// What each head writes, z W_O head by head. Changes are added to the product of all heads: unchanged, not a bit moves.
Value Pass::with_result_site(int l, const Value& z, const Value& out) const {
  const Matrix& w_o = model_.weights().layers[l].w_o;
  const Value result = call<OutputPerHeadLinear>(tape_, ctx_, {w_o.view, model_.compute()}, z, leaf(w_o));
  const Value after = site(SiteKind::kResult, l, result);
  if (!plan_.alters({SiteKind::kResult}, l)) return out;
  const Value change = call<Add>(tape_, ctx_, {-1.0f}, after, result);
  return call<Add>(tape_, ctx_, {}, out, call<SumHeads>(tape_, ctx_, {config_.n_heads}, change));
}

Value Pass::mlp(int l, const Value& resid) const {
  const LayerWeights& w = model_.weights().layers[l];
  const Value in = site(SiteKind::kMlpIn, l, resid);
  const Value n = norm(in, w.ln2, SiteKind::kLn2Scale, SiteKind::kLn2Normalized, l);
  Value post;
  if (config_.gated_mlp) {
    const Value gate = site(SiteKind::kMlpPre, l, linear(n, w.w_gate, w.b_gate));
    const Value up = site(SiteKind::kMlpPreLinear, l, linear(n, w.w_in, w.b_in));
    post = call<GatedActivate>(tape_, ctx_, {config_.activation}, gate, up);
  } else {
    post = call<Activate>(tape_, ctx_, {config_.activation}, site(SiteKind::kMlpPre, l, linear(n, w.w_in, w.b_in)));
  }
  return site(SiteKind::kMlpOut, l, linear(site(SiteKind::kMlpPost, l, post), w.w_out, w.b_out));
}

std::vector<int32_t> Pass::wanted_rows() const {
  const Plan& plan = plan_.plan();
  for (const int32_t c : plan.logit_columns)
    if (c < 0 || c >= config_.vocab)
      throw Error(ErrorKind::kInvalidArgument, "logit column {} is outside of the vocabulary of {}", c, config_.vocab);
  std::vector<int32_t> rows;
  if (plan.logit_rows == LogitRows::kChosen) return plan.chosen_rows;
  if (plan.logit_rows == LogitRows::kAll)
    for (int32_t r = 0; r < batch_.rows(); ++r) rows.push_back(r);
  if (plan.logit_rows == LogitRows::kLast)
    for (const Sequence& s : batch_.sequences)
      if (s.row_end > s.row_begin) rows.push_back(static_cast<int32_t>(s.row_end) - 1);
  return rows;
}

Value Pass::gather(const Value& x, const std::vector<int32_t>& rows) const {
  if (std::ssize(rows) == batch_.rows()) {
    bool all = true;
    for (size_t i = 0; i < rows.size(); ++i) all = all && rows[i] == static_cast<int32_t>(i);
    if (all) return x;
  }
  return call<GatherRows>(tape_, ctx_, {rows, batch_.rows()}, x);
}

Forward Pass::unembed_rows(const Value& resid) const {
  const Weights& w = model_.weights();
  Forward out;
  out.logit_rows = wanted_rows();
  // A site of the head shows every row; where the plan looks at none, only the wanted rows are computed.
  const bool norm_seen = plan_.any_of({SiteKind::kLnFinalScale, SiteKind::kLnFinalNormalized, SiteKind::kUnembedIn}, -1);
  const bool logits_seen = plan_.any_of({SiteKind::kUnembedOut, SiteKind::kLogits}, -1);
  if (out.logit_rows.empty() && !norm_seen && !logits_seen) return out;

  Value x = norm_seen || logits_seen ? resid : gather(resid, out.logit_rows);
  if (config_.final_norm) x = norm(x, w.final_norm, SiteKind::kLnFinalScale, SiteKind::kLnFinalNormalized, -1);
  x = site(SiteKind::kUnembedIn, -1, x);
  if (out.logit_rows.empty() && !logits_seen) return out;
  if (norm_seen && !logits_seen) x = gather(x, out.logit_rows);
  const std::vector<int32_t>& columns = plan_.plan().logit_columns;
  if (!columns.empty()) {
    if (logits_seen)
      throw Error(ErrorKind::kInvalidArgument, "the plan looks at the logits and asks for some of their columns only");
    out.logits =
        call<ColumnsLinear>(tape_, ctx_, {w.unembed.view, model_.compute(), columns}, x, leaf(w.unembed), leaf(w.b_unembed));
    return out;
  }
  x = linear(x, w.unembed, w.b_unembed);
  x = site(SiteKind::kLogits, -1, site(SiteKind::kUnembedOut, -1, x));
  out.logits = logits_seen && !out.logit_rows.empty() ? gather(x, out.logit_rows) : x;
  return out;
}

Forward forward(const Model& model, const ForwardInput& input) {
  check_input(model, input.batch, !input.residual.defined());
  return Pass(model, input).run();
}

Tensor unembed(const Model& model, const Tensor& residual, std::span<const int32_t> columns, int64_t* macs) {
  const Config& c = model.config();
  const Weights& w = model.weights();
  const OpContext ctx = counted(model.context(), macs);
  Value x(residual);
  if (c.final_norm && c.norm != NormKind::kNone)
    x = call<Norm>(nullptr, ctx, {c.norm != NormKind::kRmsNorm, c.eps}, x, Value(w.final_norm.gamma.data),
                   Value(w.final_norm.beta.data));
  const Value bias(w.b_unembed.data);
  if (!columns.empty())
    return call<ColumnsLinear>(nullptr, ctx, {w.unembed.view, model.compute(), {columns.begin(), columns.end()}}, x, Value(),
                               bias)
        .data;
  return call<Linear>(nullptr, ctx, {w.unembed.view, model.compute()}, x, Value(), bias).data;
}

}  // namespace microtome
