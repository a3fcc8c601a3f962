// Parameters, and where in the checkpoint each lies.
//
// Inside the model every matrix maps rows to rows, y = x W with W [K, N], packed; every vector is f32. A Slot says which
// element of which checkpoint tensor a parameter's element is, whatever the layout there (transposed, fused, per head,
// permuted), so that gradients find the way back to the checkpoint's own layout.
#pragma once

#include <string>
#include <vector>

#include "microtome/formats/checkpoint.h"
#include "microtome/kernels/packed_matrix.h"
#include "microtome/tensor/tensor.h"

namespace microtome {

struct Axis {
  int64_t size = 1, stride = 0;
};

// Element (k, n) of a parameter is element base + k * stride_k + sum_i digit_i(n) * columns[i].stride of the tensor, where
// n = digits over the sizes of `columns`, slowest first. A vector is a matrix with K = 1.
struct Slot {
  std::string tensor;
  Shape shape;  // what the tensor must have
  int64_t base = 0, stride_k = 0;
  std::vector<Axis> columns;
  // Where gradients lie, if elsewhere: a GGUF file permutes q and k rows, gradients keep Hugging Face's order. Empty: `columns`.
  std::vector<Axis> gradient_columns;

  int64_t offset(int64_t k, int64_t n) const;
};

// A tensor [out, in]: y = x Wᵀ (Hugging Face's Linear).
Slot linear_slot(std::string tensor, int64_t out, int64_t in);
// Columns [begin, begin + width) of a tensor [in, total] (GPT-2's Conv1D).
Slot conv1d_slot(std::string tensor, int64_t in, int64_t total, int64_t begin, int64_t width);
// n values from `begin` of a tensor [total].
Slot vector_slot(std::string tensor, int64_t n, int64_t begin = 0, int64_t total = -1);

struct Matrix {
  int id = -1;  // place in Weights::slots; -1: the model has none
  Slot slot;
  PackedView view;
  Tensor storage;
  bool present() const { return id >= 0; }
};

struct Vector {
  int id = -1;
  Slot slot;
  Tensor data;  // [n] f32, or undefined
  bool present() const { return id >= 0; }
};

struct NormWeights {
  Vector gamma, beta;
};

struct LayerWeights {
  NormWeights ln1, ln2;
  Matrix w_q, w_k, w_v, w_o;  // [D, H K], [D, H_kv K] twice, [H K, D]
  Vector b_q, b_k, b_v, b_o;
  Matrix w_gate, w_in, w_out;  // [D, M], [D, M], [M, D]; w_gate in gated MLPs only
  Vector b_gate, b_in, b_out;
};

struct Weights {
  Matrix embed;    // [D, V]: a token's embedding is a column
  Matrix unembed;  // [D, V]: the same parameter where tied
  Vector b_unembed;
  Vector positions;  // W_pos [context * D]
  std::vector<LayerWeights> layers;
  NormWeights final_norm;

  int n_parameters = 0;  // ids are 0 .. n_parameters - 1
  std::vector<Matrix*> matrices();
  std::vector<Vector*> vectors();
};

enum class WeightFormat : uint8_t { kF32, kBF16, kNative };

// Fills every present parameter from the checkpoint and lets go of its pages. Throws NotFound for a missing tensor, Corrupt for
// one of another shape, Unsupported for one that is no weight (integers).
void load_weights(const Checkpoint& checkpoint, WeightFormat format, Weights& weights);

// A parameter that families declare: gives it its id and place.
void declare(Weights& weights, Matrix& matrix, int64_t k, int64_t n, Slot slot);
void declare(Weights& weights, Vector& vector, Slot slot);

// Adds a parameter's gradient, plain [K, N], into `tensor` (the checkpoint tensor's values in its own layout; permuted q and k
// rows of GGUF files in Hugging Face's order).
void scatter_gradient(const Slot& slot, int64_t k, int64_t n, const float* gradient, float* tensor);

}  // namespace microtome
