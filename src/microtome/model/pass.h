// Pass: the steps of one forward pass over one batch. forward() runs them all; the sweep engine runs single steps, on the rows
// that each needs.
//
//   Pass pass(model, {.batch = batch});
//   QkvRows x = pass.project(l, resid_pre);
//   pass.remember(l, x.k, x.v);                              // keys and values into the batch's caches
//   Value z = pass.attend(l, x.q);
//   Value resid_mid = resid_pre + pass.write_heads(l, z);
//   Value resid_post = resid_mid + pass.mlp(l, resid_mid);
//
// Every value is [rows of the batch, ...]; each step visits the sites of the plan that lie in it. The same bits as forward() for
// any grouping of rows. One thread; what `input` refers to must outlive the pass.
#pragma once

#include <memory>
#include <vector>

#include "microtome/model/model.h"

namespace microtome {

struct QkvRows {
  Value q, k, v;  // [rows, H, K], [rows, H_kv, K] twice; before rotation
};

class Pass {
 public:
  Pass(const Model& model, const ForwardInput& input);

  Forward run();

  Value embed() const;                         // [rows, D], learned positions added
  QkvRows project(int l, const Value& resid);  // from the block's input
  // Parts of it, for passes that want no more: no sites.
  QkvRows project_keys(int l, const Value& resid) const;  // q is left out
  Value project_queries(int l, const Value& resid) const;
  void remember(int l, const Value& k, const Value& v);  // puts keys and values into the caches
  Value attend(int l, const Value& q);                   // z [rows, H, K]: the rows' queries against what the caches hold
  Value write_heads(int l, const Value& z) const;        // attn_out [rows, D]
  Value mlp(int l, const Value& resid) const;            // mlp_out [rows, D], from the stream that the MLP reads

 private:
  Value site(SiteKind kind, int layer, const Value& v) const {
    return plan_.any(kind, layer) ? plan_.visit(tape_, ctx_, batch_, {kind, layer}, -1, v) : v;
  }
  // A site of the shared stream, on one stream per head: edits and gradients apply to each, reads are made elsewhere.
  Value site_per_head(SiteKind kind, int layer, const Value& v) const {
    return plan_.any(kind, layer) ? plan_.visit_per_head(tape_, ctx_, batch_, {kind, layer}, v) : v;
  }
  Value leaf(const Matrix& m) const { return in_.parameters ? in_.parameters->of(m) : Value(); }
  Value leaf(const Vector& v) const { return in_.parameters && v.present() ? in_.parameters->of(v) : Value(v.data); }
  Value linear(const Value& x, const Matrix& w, const Vector& b) const;

  Value position_embedding() const;
  Norm::Params norm_params() const;
  Value norm(const Value& x, const NormWeights& w, SiteKind scale_site, SiteKind normalized_site, int layer) const;
  Value block(int l, const Value& input);
  Value attention_out(int l, const Value& resid);
  AttentionCall attention_call(int l, QkvRows x);
  Value as_heads(Value x, int64_t heads) const;
  Value query_key_input(int l, const Value& n) const;
  QkvRows qkv(int l, const Value& resid) const;
  void show_head_inputs(int l, const Value& resid) const;
  QkvRows qkv_per_head(int l, const Value& resid) const;
  Value head_norm(int l, const Value& x, const NormWeights& w, bool with_positions) const;
  void show_shared_norm(int l, const Value& resid) const;
  Value with_result_site(int l, const Value& z, const Value& out) const;
  std::vector<int32_t> wanted_rows() const;
  Value gather(const Value& x, const std::vector<int32_t>& rows) const;
  Forward unembed_rows(const Value& resid) const;

  const Model& model_;
  const Config& config_;
  const ForwardInput in_;
  const Batch& batch_;
  Tape* tape_;
  OpContext ctx_;
  ActivePlan plan_;
  const AttentionPolicy& attention_;
  std::vector<std::unique_ptr<KvCache>> own_caches_;
  std::vector<KvCache*> caches_;  // per sequence, from the first attention on
  Rope::Params rope_;
  mutable Value positions_;  // [rows, D], made on first use
};

}  // namespace microtome
