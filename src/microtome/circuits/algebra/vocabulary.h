// What tokens write into the stream and what the output reads from it, W_E [V, D] and W_U [D, V], in the folded view, block by
// block: no folded copy of either is kept.
//
//   Vocabulary vocabulary(*model, {});
//   MatrixF64 g = vocabulary.gram_copying();                       // W_U · W_E, [D, D]
//   Tensor logits = vocabulary.unembed_product(direction, 1);      // [1, V]
//
// The folded view: W_E centred over D where norms centre; W_U scaled by the final norm's γ, centred over D where norms centre,
// and centred over V (which moves logits of a position by a constant). Sums over the vocabulary run in double in a fixed order.
// Immutable after construction; one call at a time (products are parallel inside).
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/kernels/packed_matrix.h"
#include "microtome/model/model.h"
#include "microtome/ops/linear_algebra.h"

namespace microtome::algebra {

// What stands for a token in the tables.
enum class EmbeddingKind : uint8_t {
  kToken,      // W_E
  kEffective,  // resid_post of block 0 for the token alone: its attention is on itself, no learned position is added
  kMlp0Only,   // what the first MLP writes for W_E: MLP₀(LN(W_E[t]))
};
std::string embedding_name(EmbeddingKind kind);
// Throws InvalidArgument with the names there are.
EmbeddingKind parse_embedding(const std::string& name);

// A plain matrix B [K, N], packed for products.
struct PackedPlain {
  Tensor storage;
  PackedView view;
};
PackedPlain pack_matrix(const float* values, int64_t k, int64_t n);

class Vocabulary {
 public:
  // `model` and `progress` must outlive this. The effective kinds run every token once (progress); every product is broken off
  // with Error(kCancelled) once progress was cancelled.
  Vocabulary(const Model& model, EmbeddingKind kind, Progress* progress = nullptr);
  // From plain arrays, already in the view: W_E [V, D], W_U [D, V].
  Vocabulary(std::vector<float> w_e, std::vector<float> w_u, int64_t v, int64_t d, const Progress* progress = nullptr);

  int64_t size() const { return v_; }
  int64_t d() const { return d_; }
  const Progress* progress() const { return progress_; }

  // Rows [begin, end) of W_E, [end - begin, D].
  void embed_rows(int64_t begin, int64_t end, float* out) const;
  // W_E · W with W [D, K] -> [V, K].
  Tensor embed_product(const float* w, int64_t k) const;
  // X · W_U with X [M, D] -> [M, V].
  Tensor unembed_product(const float* x, int64_t m) const;
  // The same without centring over V, plus the output's bias: the logits of a zero-layer model.
  Tensor zero_layer_logits(const float* x, int64_t m) const;

  // W_U · W_E [D, D].
  MatrixF64 gram_copying() const;
  // [W_E, 1]ᵀ [W_E, 1] over tokens, [D + 1, D + 1]; its first D rows and columns are W_Eᵀ W_E.
  MatrixF64 gram_matching() const;

 private:
  void fill_effective(EmbeddingKind kind, Progress* progress);
  std::vector<float> before_unembedding(const float* x, int64_t m) const;

  void check() const {
    if (progress_) progress_->check();
  }

  const Model* model_ = nullptr;
  const Progress* progress_ = nullptr;
  int64_t v_ = 0, d_ = 0;
  bool centre_ = false;
  std::vector<float> own_embed_;  // [V, D]; empty: the model's
  PackedPlain own_unembed_;       // undefined: the model's
};

}  // namespace microtome::algebra
