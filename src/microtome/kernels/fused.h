// Fused row kernels: norms, rotary embedding, activations, softmax and cross-entropy, and the small maps around them.
//
// Arrays are dense, row-major f32; "rows" is the number of rows, d their width. Every function is parallel over rows inside
// (serial when called from inside parallel_for), writes its outputs whole unless it says "adds", and may work in place where
// an output may alias an input of the same shape. A row's result depends on that row alone. Sums over a row run in a fixed
// order per instruction set.
#pragma once

#include <cstdint>

namespace microtome {

// --- norms -----------------------------------------------------------------------------------------------------------
// scale = sqrt(mean((x - mu)^2) + eps), n = (x - mu) / scale, y = n * gamma + beta, with mu = mean(x) if `center` (LayerNorm)
// and 0 otherwise (RMSNorm). The four functions below agree bit for bit: norm = norm_affine(norm_normalize(x, norm_scale(x))).
struct NormShape {
  int64_t rows = 0, d = 0;
  bool center = false;
  float eps = 1e-5f;
};
void norm(const NormShape& s, const float* x, const float* gamma, const float* beta, float* y,
          float* scale);                                            // gamma, beta, scale: may be null
void norm_scale(const NormShape& s, const float* x, float* scale);  // scale [rows]
void norm_normalize(const NormShape& s, const float* x, const float* scale, float* n);
void norm_affine(int64_t rows, int64_t d, const float* n, const float* gamma, const float* beta,
                 float* y);  // gamma, beta: may be null

// dx is written. dgamma, dbeta [d] (may be null) are added to. scale is norm's.
void norm_backward(const NormShape& s, const float* x, const float* gamma, const float* scale, const float* dy, float* dx,
                   float* dgamma, float* dbeta);
void norm_scale_backward(const NormShape& s, const float* x, const float* scale, const float* dscale, float* dx);
// dx [rows, d] and dscale [rows] are written; gradient of n with scale as an independent input.
void norm_normalize_backward(const NormShape& s, const float* x, const float* scale, const float* dn, float* dx, float* dscale);
void norm_affine_backward(int64_t rows, int64_t d, const float* n, const float* gamma, const float* dy, float* dn, float* dgamma,
                          float* dbeta);

// --- rotary position embedding ------------------------------------------------------------------------------------------
// x [rows, heads, d] to y: the first `rotary` dimensions of each head are turned by table angles of the row's position,
// pairs (i, i + rotary / 2), or (2 i, 2 i + 1) if `adjacent`; the rest is copied. cos, sin: [positions][rotary / 2].
// `inverse` turns back (the gradient). y may be x.
struct RopeShape {
  int64_t rows = 0, heads = 0, d = 0, rotary = 0;
  bool adjacent = false, inverse = false;
};
void rope(const RopeShape& s, const float* x, const int32_t* positions, const float* cos, const float* sin, float* y);

// --- activations ---------------------------------------------------------------------------------------------------------
enum class Activation : uint8_t { kRelu, kGelu, kGeluTanh, kSilu };  // gelu: exact (erf); gelu_tanh: GPT-2's "gelu_new"
void activation(Activation a, int64_t n, const float* x, float* y);
void activation_backward(Activation a, int64_t n, const float* x, const float* dy, float* dx);
// y = act(gate) * up; both gradients written.
void gated_activation(Activation a, int64_t n, const float* gate, const float* up, float* y);
void gated_activation_backward(Activation a, int64_t n, const float* gate, const float* up, const float* dy, float* dgate,
                               float* dup);

// --- softmax and cross-entropy -------------------------------------------------------------------------------------------
void softmax(int64_t rows, int64_t d, const float* x, float* y);
void softmax_backward(int64_t rows, int64_t d, const float* y, const float* dy, float* dx);
// lse [rows]: ln sum e^x, in double.
void log_sum_exp(int64_t rows, int64_t d, const float* x, double* lse);
// loss [rows] = lse - x[target] in double; a target < 0 gives 0. lse [rows] may be null.
void cross_entropy(int64_t rows, int64_t d, const float* x, const int32_t* targets, double* loss, double* lse);
// dx = weight[row] * (softmax(x) - onehot(target)); 0 for a target < 0.
void cross_entropy_backward(int64_t rows, int64_t d, const float* x, const int32_t* targets, const float* weight,
                            const double* lse, float* dx);

// --- small maps ----------------------------------------------------------------------------------------------------------
void add(int64_t n, const float* a, const float* b, float* y);
void multiply(int64_t n, const float* a, const float* b, float* y);
void scale_by(int64_t n, float factor, const float* x, float* y);
void add_scaled(int64_t n, float factor, const float* x, float* y);                   // y += factor * x
void add_bias(int64_t rows, int64_t d, const float* x, const float* bias, float* y);  // y = x + bias
void column_sums(int64_t rows, int64_t d, const float* x, float* sums);               // adds; rows in fixed blocks, in order
void transpose(int64_t rows, int64_t d, const float* x, float* y);                    // y [d, rows]

}  // namespace microtome
