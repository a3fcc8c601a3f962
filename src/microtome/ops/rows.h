// Operations on rows: norms, rotary embedding, activations, sums, selections.
#pragma once

#include <memory>

#include "microtome/ops/op.h"

namespace microtome {

// LayerNorm (center) or RMSNorm: x [.., d], gamma [d] or absent, beta [d] or absent (kernels/fused.h). Saves the scale only.
struct Norm {
  static constexpr int kInputs = 3;
  struct Params {
    bool center = false;
    float eps = 1e-5f;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int input, const Gradients&) { return input < 2; }
};

// The three parts of a norm, for passes that read or edit between them; composed they have Norm's bits.
// x [.., d] -> scale [.., 1].
struct NormScale {
  static constexpr int kInputs = 1;
  using Params = Norm::Params;
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return true; }
};
// x [.., d], scale [.., 1] -> (x - mean) / scale.
struct NormNormalize {
  static constexpr int kInputs = 2;
  using Params = Norm::Params;
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return true; }
};
// n [.., d], gamma, beta (either may be absent) -> n * gamma + beta.
struct NormAffine {
  static constexpr int kInputs = 3;
  struct Params {};
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int input, const Gradients&) { return input < 2; }
};

// cos and sin of position * frequency, [positions, rotary / 2] each.
struct RopeTable {
  Tensor cos, sin;
  int64_t rotary = 0;
  bool adjacent = false;
};

// x [rows, heads, d] turned by each row's position (kernels/fused.h).
struct Rope {
  static constexpr int kInputs = 1;
  struct Params {
    std::shared_ptr<const RopeTable> table;
    std::shared_ptr<const std::vector<int32_t>> positions;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

// y = act(x), any shape; x is kept, y is not.
struct Activate {
  static constexpr int kInputs = 1;
  struct Params {
    Activation kind;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return true; }
};

// y = act(gate) * up.
struct GatedActivate {
  static constexpr int kInputs = 2;
  using Params = Activate::Params;
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return true; }
};

// y = a + factor * b, same number of elements; the shape is a's.
struct Add {
  static constexpr int kInputs = 2;
  struct Params {
    float factor = 1;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

// Chosen rows of x [rows, ..], in the order given, repeats allowed -> [indices, ..].
struct GatherRows {
  static constexpr int kInputs = 1;
  struct Params {
    std::vector<int32_t> indices;
    int64_t rows = 0;  // of x
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

// x [rows, d] -> [rows, heads, d], the same for every head.
struct RepeatHeads {
  static constexpr int kInputs = 1;
  struct Params {
    int64_t heads = 1;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

// x [rows, heads, d] -> [rows, d], heads added in order.
struct SumHeads {
  static constexpr int kInputs = 1;
  struct Params {
    int64_t heads = 1;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

// Every `stride`-th head of x [rows, heads, d], from the first -> [rows, heads / stride, d].
struct EveryNthHead {
  static constexpr int kInputs = 1;
  struct Params {
    int64_t heads = 1, stride = 1;
  };
  static Tensor forward(const OpContext& ctx, const Params& p, const Inputs& in, Saved* saved);
  static void backward(const OpContext& ctx, const Params& p, const Inputs& in, const Saved& saved, const Tensor& dy,
                       Gradients& d);
  static bool keeps(int, const Gradients&) { return false; }
};

}  // namespace microtome
