// The weights of single heads in the folded view, as every analysis of weights reads them.
//
//   std::vector<HeadWeights> heads = read_heads(*model);
//   Factored ov = heads[0].ov(), qk = heads[0].qk();
//
// Folded view (circuits specification, section 2): the norm before the head is folded into what reads the stream,
// W̃ = diag(γ) W and b̃ = b + β W; under LayerNorm also every column of a reading matrix and every row of a writing matrix loses
// its mean, which the norms before and after take away anyway. The model's own weights stay as they are. Under grouped heads a
// head is the pair (query head h, key/value head h H_kv / H). A reading is made on the calling thread; results are plain data.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/circuits/algebra/factored.h"
#include "microtome/model/model.h"

namespace microtome::algebra {

struct HeadId {
  int layer = 0, head = 0;
  auto operator<=>(const HeadId&) const = default;
};

struct HeadWeights {
  HeadId id;
  int64_t d = 0, k = 0;
  std::vector<float> w_q, w_k, w_v;  // [D, K]
  std::vector<float> w_o;            // [K, D]
  std::vector<float> b_q, b_k, b_v;  // [K]; zeros where the model has none
  float scale = 1;                   // scores = q · k * scale

  Factored ov() const;  // W_V · W_O
  Factored qk() const;  // W_Q · W_Kᵀ
  // [W_Q; b_Q] · [W_K; b_K]ᵀ: bilinear on the stream with a constant 1 appended.
  Factored qk_with_bias() const;
};

// All heads (empty `which`) or these, in the order of `which`. With rotary positions queries are turned by `offset` = query
// position − key position, so that W_Q W_Kᵀ is QK_δ. Throws InvalidArgument for a head that the model does not have, or an
// offset where the model has no rotary positions or that is negative; Error(kCancelled) through `progress`.
std::vector<HeadWeights> read_heads(const Model& model, std::span<const HeadId> which = {}, int64_t offset = 0,
                                    const Progress* progress = nullptr);

// MLP of one layer in the folded view: reading columns [D, M] (gate only where gated), writing rows [M, D].
struct MlpWeights {
  int64_t d = 0, m = 0;
  std::vector<float> w_in, w_gate;  // [D, M]
  std::vector<float> w_out;         // [M, D]
};
MlpWeights read_mlp(const Model& model, int layer);

// True where the stream is read through norms that take the mean away, so that reading and writing weights may be centred.
bool centred_view(const Config& config);

// Rows [n, d] without their mean.
void centre_rows(float* values, int64_t n, int64_t d);

}  // namespace microtome::algebra
