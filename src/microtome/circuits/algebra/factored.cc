#include "microtome/circuits/algebra/factored.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"

namespace microtome::algebra {

MatrixF64 dense(const Factored& m) { return matmul(m.a, m.b); }

Factored transposed(const Factored& m) { return {microtome::transposed(m.b), microtome::transposed(m.a)}; }

Factored multiply(const Factored& x, const Factored& y) {
  MatrixF64 middle = matmul(x.b, y.a);  // [r_x, r_y]
  if (x.rank() <= y.rank()) return {x.a, matmul(middle, y.b)};
  return {matmul(x.a, middle), y.b};
}

double trace(const Factored& m) {
  MT_CHECK_EQ(m.rows(), m.cols());
  double sum = 0;
  for (int64_t i = 0; i < m.a.rows; ++i)
    for (int64_t r = 0; r < m.a.cols; ++r) sum += m.a(i, r) * m.b(r, i);
  return sum;
}

double frobenius_norm(const Factored& m) {
  const MatrixF64 left = matmul_tn(m.a, m.a), right = matmul_nt(m.b, m.b);
  double sum = 0;  // tr(left right); both are symmetric
  for (size_t i = 0; i < left.data.size(); ++i) sum += left.data[i] * right.data[i];
  return std::sqrt(std::max(0.0, sum));
}

std::vector<std::complex<double>> eigenvalues(const Factored& m) {
  MT_CHECK_EQ(m.rows(), m.cols());
  if (m.rank() >= m.rows()) return microtome::eigenvalues(dense(m));
  return microtome::eigenvalues(matmul(m.b, m.a));
}

ThinSvd svd(const Factored& m) {
  const ThinQr left = thin_qr(m.a), right = thin_qr(microtome::transposed(m.b));
  ThinSvd out = thin_svd(matmul_nt(left.r, right.r));
  out.u = matmul(left.q, out.u);
  out.v = matmul(right.q, out.v);
  return out;
}

double sum_of_magnitudes(const std::vector<std::complex<double>>& values) {
  double sum = 0;
  for (const auto& v : values) sum += std::abs(v);
  return sum;
}

double positivity(const std::vector<std::complex<double>>& values) {
  double sum = 0;
  for (const auto& v : values) sum += v.real();
  const double all = sum_of_magnitudes(values);
  return all > 0 ? sum / all : 0;
}

}  // namespace microtome::algebra
