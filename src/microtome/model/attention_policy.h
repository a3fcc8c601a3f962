// Who may look at whom, and in what form: the attention of a model is a policy, and dense attention is the first.
//
// A policy gets this pass's queries, keys and values before any rotation and returns z, in two steps: what the caches hold, and
// what the queries see. It decides what the cache holds, produces the sites between (rot_q, rot_k, scores, pattern), stays fused
// unless the plan looks at scores or pattern of that layer, and states the definition it implements (`visible`), which the oracle
// uses.
#pragma once

#include <memory>

#include "microtome/model/plan.h"
#include "microtome/ops/rows.h"

namespace microtome {

struct AttentionCall {
  const Config& config;
  const Batch& batch;
  int layer;
  Tape* tape;
  const OpContext& ctx;
  const ActivePlan& plan;
  const std::vector<KvCache*>& caches;  // per sequence, never null
  Rope::Params rope;                    // table null: no rotation
  Value q, k, v;                        // [rows, H, d], [rows, H_kv, d], [rows, H_kv, dv]

  // The value after what the plan does at a site of this layer.
  Value site(SiteKind kind, const Value& value, int sequence = -1) const {
    if (!plan.any(kind, layer)) return value;
    return plan.visit(tape, ctx, batch, {kind, layer}, sequence, value);
  }
};

// FLOP and bytes read of one layer's attention for `queries` rows behind `cached` tokens.
struct AttentionCost {
  double flop = 0, bytes = 0;
};

class AttentionPolicy {
 public:
  virtual ~AttentionPolicy() = default;
  virtual const char* name() const = 0;

  // The definition: may the query at text position i see the key at text position j (layer, query head)?
  virtual bool visible(int layer, int64_t head, int64_t i, int64_t j) const = 0;

  // Puts k and v into the caches. Afterwards the call's k is what the caches hold of this pass (rotated, where they hold it so).
  virtual void append(AttentionCall& call) const = 0;

  // z [rows, H, dv] of the call's queries against the caches. With a tape, gradients reach the call's k and v as append() left
  // them; undefined, all keys are constants.
  virtual Value attend(const AttentionCall& call) const = 0;

  virtual AttentionCost cost(const Config& config, int64_t queries, int64_t cached) const = 0;
};

std::shared_ptr<const AttentionPolicy> dense_attention();

}  // namespace microtome
