// Products with weights: y = x W + b, and the same head by head.
#pragma once

#include "microtome/ops/op.h"

namespace microtome {

// x [.., K] (rows taken together), W [K, N] packed, b [N] or absent -> y [rows, N].
// Input 1 stands for W: its data lies in Params, the tensor is undefined, its gradient is plain [K, N].
struct Linear {
  static constexpr int kInputs = 3;
  struct Params {
    PackedView w;
    Compute compute = Compute::kF32;
    Compute backward = Compute::kF32;  // of the product with the transposed matrix; kBF16 rounds it and dy
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int input, const Gradients& d) { return input == 0 && d.wants(1); }
};

// Each head has an input of its own: x [rows, H, K], W [K, H * N], b [H * N] or absent -> y [rows, H, N].
// The same bits as Linear where all heads have the same input.
struct InputPerHeadLinear {
  static constexpr int kInputs = 3;
  using Params = Linear::Params;
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int input, const Gradients& d) { return input == 0 && d.wants(1); }
};

// What each head writes: z [rows, H, K], W_O [H * K, N] -> [rows, H, N]; their sum over H is z W_O.
struct OutputPerHeadLinear {
  static constexpr int kInputs = 2;
  using Params = Linear::Params;
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int input, const Gradients& d) { return input == 0 && d.wants(1); }
};

// Chosen columns of a product: x [rows, K], W [K, N], b [N] or absent -> [rows, columns], the bits that Linear gives them.
struct ColumnsLinear {
  static constexpr int kInputs = 3;
  struct Params {
    PackedView w;
    Compute compute = Compute::kF32;
    std::vector<int32_t> columns;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int input, const Gradients& d) { return input == 0 && d.wants(1); }
};

// Rows of an embedding. W [K, V] packed (a token's embedding is a column, so that a tied matrix serves as W_U too):
// token ids -> [rows, K]. Input 0 stands for W; its gradient is plain [K, V].
struct Embedding {
  static constexpr int kInputs = 1;
  struct Params {
    PackedView w;
    std::vector<int32_t> tokens;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

}  // namespace microtome
