#include "microtome/kernels/fused.h"

#include "microtome/kernels/reference.h"

namespace microtome {

void norm(const NormShape& s, const float* x, const float* gamma, const float* beta, float* y, float* scale) {
  reference::norm<float>(s, x, gamma, beta, y, scale);
}
void norm_scale(const NormShape& s, const float* x, float* scale) { reference::norm_scale<float>(s, x, scale); }
void norm_normalize(const NormShape& s, const float* x, const float* scale, float* n) {
  reference::norm_normalize<float>(s, x, scale, n);
}
void norm_affine(int64_t rows, int64_t d, const float* n, const float* gamma, const float* beta, float* y) {
  reference::norm_affine<float>(rows, d, n, gamma, beta, y);
}
void norm_backward(const NormShape& s, const float* x, const float* gamma, const float* scale, const float* dy, float* dx,
                   float* dgamma, float* dbeta) {
  reference::norm_backward<float>(s, x, gamma, scale, dy, dx, dgamma, dbeta);
}
void norm_scale_backward(const NormShape& s, const float* x, const float* scale, const float* dscale, float* dx) {
  reference::norm_scale_backward<float>(s, x, scale, dscale, dx);
}
void norm_normalize_backward(const NormShape& s, const float* x, const float* scale, const float* dn, float* dx, float* dscale) {
  reference::norm_normalize_backward<float>(s, x, scale, dn, dx, dscale);
}
void norm_affine_backward(int64_t rows, int64_t d, const float* n, const float* gamma, const float* dy, float* dn, float* dgamma,
                          float* dbeta) {
  reference::norm_affine_backward<float>(rows, d, n, gamma, dy, dn, dgamma, dbeta);
}
void rope(const RopeShape& s, const float* x, const int32_t* positions, const float* cos, const float* sin, float* y) {
  reference::rope<float>(s, x, positions, cos, sin, y);
}
void activation(Activation a, int64_t n, const float* x, float* y) { reference::activation<float>(a, n, x, y); }
void activation_backward(Activation a, int64_t n, const float* x, const float* dy, float* dx) {
  reference::activation_backward<float>(a, n, x, dy, dx);
}
void gated_activation(Activation a, int64_t n, const float* gate, const float* up, float* y) {
  reference::gated_activation<float>(a, n, gate, up, y);
}
void gated_activation_backward(Activation a, int64_t n, const float* gate, const float* up, const float* dy, float* dgate,
                               float* dup) {
  reference::gated_activation_backward<float>(a, n, gate, up, dy, dgate, dup);
}
void softmax(int64_t rows, int64_t d, const float* x, float* y) { reference::softmax<float>(rows, d, x, y); }
void softmax_backward(int64_t rows, int64_t d, const float* y, const float* dy, float* dx) {
  reference::softmax_backward<float>(rows, d, y, dy, dx);
}
void log_sum_exp(int64_t rows, int64_t d, const float* x, double* lse) { reference::log_sum_exp<float>(rows, d, x, lse); }
void cross_entropy(int64_t rows, int64_t d, const float* x, const int32_t* targets, double* loss, double* lse) {
  reference::cross_entropy<float>(rows, d, x, targets, loss, lse);
}
void cross_entropy_backward(int64_t rows, int64_t d, const float* x, const int32_t* targets, const float* weight, const double* lse,
                            float* dx) {
  reference::cross_entropy_backward<float>(rows, d, x, targets, weight, lse, dx);
}
void add(int64_t n, const float* a, const float* b, float* y) { reference::add<float>(n, a, b, y); }
void multiply(int64_t n, const float* a, const float* b, float* y) { reference::multiply<float>(n, a, b, y); }
void scale_by(int64_t n, float factor, const float* x, float* y) { reference::scale_by<float>(n, factor, x, y); }
void add_scaled(int64_t n, float factor, const float* x, float* y) { reference::add_scaled<float>(n, factor, x, y); }
void add_bias(int64_t rows, int64_t d, const float* x, const float* bias, float* y) {
  reference::add_bias<float>(rows, d, x, bias, y);
}
void column_sums(int64_t rows, int64_t d, const float* x, float* sums) { reference::column_sums<float>(rows, d, x, sums); }
void transpose(int64_t rows, int64_t d, const float* x, float* y) { reference::transpose<float>(rows, d, x, y); }

}  // namespace microtome
