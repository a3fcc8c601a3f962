// The definitions: every fused kernel as plain loops over float or double, forward and backward (attention: its own file). Slow,
// serial, obvious; the fast kernels are tested against them in double.
//
//   reference::norm<double>(shape, x, gamma, beta, y, scale);
//
// Same arguments as fused.h, with T for float. Backward functions write or add to the same outputs as the fast ones. All
// functions are pure and may run on any thread.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "microtome/kernels/fused.h"

namespace microtome::reference {

// --- norms -----------------------------------------------------------------------------------------------------------
template <class T>
T row_mean(const NormShape& s, const T* x) {
  if (!s.center) return 0;
  T sum = 0;
  for (int64_t c = 0; c < s.d; ++c) sum += x[c];
  return sum / T(s.d);
}

template <class T>
void norm_scale(const NormShape& s, const T* x, T* scale) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const T mu = row_mean(s, x + r * s.d);
    T sum = 0;
    for (int64_t c = 0; c < s.d; ++c) sum += (x[r * s.d + c] - mu) * (x[r * s.d + c] - mu);
    scale[r] = std::sqrt(sum / T(s.d) + T(s.eps));
  }
}

template <class T>
void norm_normalize(const NormShape& s, const T* x, const T* scale, T* n) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const T mu = row_mean(s, x + r * s.d);
    for (int64_t c = 0; c < s.d; ++c) n[r * s.d + c] = (x[r * s.d + c] - mu) / scale[r];
  }
}

template <class T>
void norm_affine(int64_t rows, int64_t d, const T* n, const T* gamma, const T* beta, T* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d; ++c) {
      const T scaled = gamma ? n[r * d + c] * gamma[c] : n[r * d + c];
      y[r * d + c] = beta ? scaled + beta[c] : scaled;
    }
  }
}

template <class T>
void norm(const NormShape& s, const T* x, const T* gamma, const T* beta, T* y, T* scale) {
  for (int64_t r = 0; r < s.rows; ++r) {
    NormShape row = s;
    row.rows = 1;
    T row_scale;
    norm_scale<T>(row, x + r * s.d, &row_scale);
    norm_normalize<T>(row, x + r * s.d, &row_scale, y + r * s.d);
    norm_affine<T>(1, s.d, y + r * s.d, gamma, beta, y + r * s.d);
    if (scale) scale[r] = row_scale;
  }
}

// dn = dy gamma; dx = (dn - [mean(dn)] - n mean(dn n)) / scale, the term in brackets if centred.
template <class T>
void norm_backward(const NormShape& s, const T* x, const T* gamma, const T* scale, const T* dy, T* dx, T* dgamma, T* dbeta) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const T* xr = x + r * s.d;
    const T* dyr = dy + r * s.d;
    const T mu = row_mean(s, xr);
    T sum = 0, dot = 0;
    for (int64_t c = 0; c < s.d; ++c) {
      const T n = (xr[c] - mu) / scale[r];
      const T dn = gamma ? dyr[c] * gamma[c] : dyr[c];
      sum += dn;
      dot += dn * n;
      if (dgamma) dgamma[c] += dyr[c] * n;
      if (dbeta) dbeta[c] += dyr[c];
    }
    const T mean = s.center ? sum / T(s.d) : 0;
    for (int64_t c = 0; c < s.d; ++c) {
      const T n = (xr[c] - mu) / scale[r];
      const T dn = gamma ? dyr[c] * gamma[c] : dyr[c];
      dx[r * s.d + c] = (dn - mean - n * (dot / T(s.d))) / scale[r];
    }
  }
}

template <class T>
void norm_scale_backward(const NormShape& s, const T* x, const T* scale, const T* dscale, T* dx) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const T mu = row_mean(s, x + r * s.d);
    for (int64_t c = 0; c < s.d; ++c) dx[r * s.d + c] = dscale[r] * (x[r * s.d + c] - mu) / (scale[r] * T(s.d));
  }
}

template <class T>
void norm_normalize_backward(const NormShape& s, const T* x, const T* scale, const T* dn, T* dx, T* dscale) {
  for (int64_t r = 0; r < s.rows; ++r) {
    const T mu = row_mean(s, x + r * s.d);
    const T mean = row_mean(s, dn + r * s.d);
    T dot = 0;
    for (int64_t c = 0; c < s.d; ++c) dot += dn[r * s.d + c] * (x[r * s.d + c] - mu) / scale[r];
    for (int64_t c = 0; c < s.d; ++c) dx[r * s.d + c] = (dn[r * s.d + c] - mean) / scale[r];
    dscale[r] = -dot / scale[r];
  }
}

template <class T>
void norm_affine_backward(int64_t rows, int64_t d, const T* n, const T* gamma, const T* dy, T* dn, T* dgamma, T* dbeta) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d; ++c) {
      const T g = dy[r * d + c];
      if (dgamma) dgamma[c] += g * n[r * d + c];
      if (dbeta) dbeta[c] += g;
      dn[r * d + c] = gamma ? g * gamma[c] : g;
    }
  }
}

// --- rotary position embedding ------------------------------------------------------------------------------------------
template <class T>
void rope(const RopeShape& s, const T* x, const int32_t* positions, const T* cos, const T* sin, T* y) {
  const int64_t half = s.rotary / 2;
  for (int64_t v = 0; v < s.rows * s.heads; ++v) {
    const T* xv = x + v * s.d;
    T* yv = y + v * s.d;
    const int64_t table = positions[v / s.heads] * half;
    for (int64_t i = 0; i < half; ++i) {
      const int64_t a = s.adjacent ? 2 * i : i, b = s.adjacent ? 2 * i + 1 : i + half;
      const T c = cos[table + i], n = s.inverse ? -sin[table + i] : sin[table + i];
      const T xa = xv[a], xb = xv[b];
      yv[a] = xa * c - xb * n;
      yv[b] = xb * c + xa * n;
    }
    for (int64_t i = 2 * half; i < s.d; ++i) yv[i] = xv[i];
  }
}

// --- activations ---------------------------------------------------------------------------------------------------------
inline constexpr double kSqrtHalf = 0.70710678118654752440;
inline constexpr double kSqrt2OverPi = 0.79788456080286535588;
inline constexpr double kInvSqrt2Pi = 0.39894228040143267794;
inline constexpr double kGeluCubic = 0.044715;

template <class T>
T act(Activation a, T x) {
  switch (a) {
    case Activation::kRelu: return x > 0 ? x : T(0);
    case Activation::kGelu: return T(.5) * x * (1 + std::erf(x * T(kSqrtHalf)));
    case Activation::kGeluTanh: return T(.5) * x * (1 + std::tanh(T(kSqrt2OverPi) * (x + T(kGeluCubic) * x * x * x)));
    case Activation::kSilu: return x / (1 + std::exp(-x));
  }
  return x;
}

template <class T>
T act_derivative(Activation a, T x) {
  switch (a) {
    case Activation::kRelu: return x > 0 ? T(1) : T(0);
    case Activation::kGelu: return T(.5) * (1 + std::erf(x * T(kSqrtHalf))) + x * T(kInvSqrt2Pi) * std::exp(T(-.5) * x * x);
    case Activation::kGeluTanh: {
      const T t = std::tanh(T(kSqrt2OverPi) * (x + T(kGeluCubic) * x * x * x));
      return T(.5) * (1 + t) + T(.5) * x * (1 - t * t) * T(kSqrt2OverPi) * (1 + 3 * T(kGeluCubic) * x * x);
    }
    case Activation::kSilu: {
      const T sigma = 1 / (1 + std::exp(-x));
      return sigma * (1 + x * (1 - sigma));
    }
  }
  return 1;
}

template <class T>
void activation(Activation a, int64_t n, const T* x, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = act(a, x[i]);
}

template <class T>
void activation_backward(Activation a, int64_t n, const T* x, const T* dy, T* dx) {
  for (int64_t i = 0; i < n; ++i) dx[i] = dy[i] * act_derivative(a, x[i]);
}

template <class T>
void gated_activation(Activation a, int64_t n, const T* gate, const T* up, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = act(a, gate[i]) * up[i];
}

template <class T>
void gated_activation_backward(Activation a, int64_t n, const T* gate, const T* up, const T* dy, T* dgate, T* dup) {
  for (int64_t i = 0; i < n; ++i) {
    const T g = gate[i], u = up[i], dyi = dy[i];
    dgate[i] = dyi * u * act_derivative(a, g);
    dup[i] = dyi * act(a, g);
  }
}

// --- softmax and cross-entropy -------------------------------------------------------------------------------------------
// In place over x[begin, end), with x[0, begin) set to 0; returns ln sum e^x. All -inf, or empty: zeros and -inf.
template <class T>
T softmax_range(int64_t begin, int64_t end, T* x) {
  T largest = -std::numeric_limits<T>::infinity(), sum = 0;
  for (int64_t j = begin; j < end; ++j) largest = std::max(largest, x[j]);
  for (int64_t j = 0; j < end; ++j) {
    x[j] = j < begin || !(largest > -std::numeric_limits<T>::infinity()) ? T(0) : std::exp(x[j] - largest);
    sum += x[j];
  }
  if (!(sum > 0)) return -std::numeric_limits<T>::infinity();
  for (int64_t j = begin; j < end; ++j) x[j] /= sum;
  return largest + std::log(sum);
}

template <class T>
void softmax(int64_t rows, int64_t d, const T* x, T* y) {
  for (int64_t i = 0; i < rows * d; ++i) y[i] = x[i];
  for (int64_t r = 0; r < rows; ++r) softmax_range<T>(0, d, y + r * d);
}

template <class T>
void softmax_backward(int64_t rows, int64_t d, const T* y, const T* dy, T* dx) {
  for (int64_t r = 0; r < rows; ++r) {
    T dot = 0;
    for (int64_t c = 0; c < d; ++c) dot += y[r * d + c] * dy[r * d + c];
    for (int64_t c = 0; c < d; ++c) dx[r * d + c] = y[r * d + c] * (dy[r * d + c] - dot);
  }
}

template <class T>
void log_sum_exp(int64_t rows, int64_t d, const T* x, double* lse) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* xr = x + r * d;
    const double largest = d > 0 ? double(*std::max_element(xr, xr + d)) : -std::numeric_limits<double>::infinity();
    double sum = 0;
    for (int64_t c = 0; c < d; ++c) sum += std::isinf(largest) ? 0 : std::exp(double(xr[c]) - largest);
    lse[r] = std::isinf(largest) ? largest : largest + std::log(sum);
  }
}

template <class T>
void cross_entropy(int64_t rows, int64_t d, const T* x, const int32_t* targets, double* loss, double* lse) {
  for (int64_t r = 0; r < rows; ++r) {
    double row_lse;
    log_sum_exp<T>(1, d, x + r * d, &row_lse);
    loss[r] = targets[r] < 0 ? 0 : row_lse - double(x[r * d + targets[r]]);
    if (lse) lse[r] = row_lse;
  }
}

template <class T>
void cross_entropy_backward(int64_t rows, int64_t d, const T* x, const int32_t* targets, const T* weight, const double* lse,
                            T* dx) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d; ++c) {
      const double p = std::exp(double(x[r * d + c]) - lse[r]);
      dx[r * d + c] = targets[r] < 0 ? T(0) : T(double(weight[r]) * (p - (c == targets[r] ? 1 : 0)));
    }
  }
}

// --- small maps ----------------------------------------------------------------------------------------------------------
template <class T>
void add(int64_t n, const T* a, const T* b, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

template <class T>
void multiply(int64_t n, const T* a, const T* b, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

template <class T>
void scale_by(int64_t n, T factor, const T* x, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = factor * x[i];
}

template <class T>
void add_scaled(int64_t n, T factor, const T* x, T* y) {
  for (int64_t i = 0; i < n; ++i) y[i] += factor * x[i];
}

template <class T>
void add_bias(int64_t rows, int64_t d, const T* x, const T* bias, T* y) {
  for (int64_t i = 0; i < rows * d; ++i) y[i] = x[i] + bias[i % d];
}

template <class T>
void column_sums(int64_t rows, int64_t d, const T* x, T* sums) {
  for (int64_t i = 0; i < rows * d; ++i) sums[i % d] += x[i];
}

template <class T>
void transpose(int64_t rows, int64_t d, const T* x, T* y) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < d; ++c) y[c * rows + r] = x[r * d + c];
  }
}

}  // namespace microtome::reference
