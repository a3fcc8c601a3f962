#include "microtome/ops/linear_algebra.h"

// Threads are the caller's business.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <tuple>

#include "microtome/base/error.h"

namespace microtome {
namespace {

using Dense = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ColumnMajor = Eigen::MatrixXd;
using View = Eigen::Map<const Dense>;

View view(const MatrixF64& a) { return {a.data.data(), a.rows, a.cols}; }

template <class Expression>
MatrixF64 copied(const Expression& e) {
  MatrixF64 out(e.rows(), e.cols());
  Eigen::Map<Dense>(out.data.data(), out.rows, out.cols) = e;
  return out;
}

void check_finite(const MatrixF64& a, const char* what) {
  for (const double x : a.data)
    if (!std::isfinite(x))
      throw Error(ErrorKind::kInvalidArgument, "{} of a matrix [{}, {}] that holds {}, expected finite numbers", what, a.rows,
                  a.cols, x);
}

void check_square(const MatrixF64& a) { MT_CHECK_EQ(a.rows, a.cols); }

}  // namespace

MatrixF64 MatrixF64::from(const float* values, int64_t r, int64_t c, int64_t stride) {
  MatrixF64 out(r, c);
  for (int64_t i = 0; i < r; ++i)
    for (int64_t j = 0; j < c; ++j) out(i, j) = values[i * (stride > 0 ? stride : c) + j];
  return out;
}

MatrixF64 MatrixF64::identity(int64_t n) {
  MatrixF64 out(n, n);
  for (int64_t i = 0; i < n; ++i) out(i, i) = 1;
  return out;
}

MatrixF64 matmul(const MatrixF64& a, const MatrixF64& b) {
  MT_CHECK_EQ(a.cols, b.rows);
  return copied(view(a) * view(b));
}

MatrixF64 matmul_tn(const MatrixF64& a, const MatrixF64& b) {
  MT_CHECK_EQ(a.rows, b.rows);
  return copied(view(a).transpose() * view(b));
}

MatrixF64 matmul_nt(const MatrixF64& a, const MatrixF64& b) {
  MT_CHECK_EQ(a.cols, b.cols);
  return copied(view(a) * view(b).transpose());
}

MatrixF64 transposed(const MatrixF64& a) { return copied(view(a).transpose()); }

double trace(const MatrixF64& a) {
  check_square(a);
  double sum = 0;
  for (int64_t i = 0; i < a.rows; ++i) sum += a(i, i);
  return sum;
}

double frobenius_norm(const MatrixF64& a) {
  double sum = 0;
  for (const double x : a.data) sum += x * x;
  return std::sqrt(sum);
}

ThinSvd thin_svd(const MatrixF64& a) {
  check_finite(a, "singular values");
  ThinSvd out;
  if (a.rows == 0 || a.cols == 0) return out;
  const ColumnMajor copy = view(a);
  const Eigen::BDCSVD<ColumnMajor> svd(copy, Eigen::ComputeThinU | Eigen::ComputeThinV);
  out.u = copied(svd.matrixU());
  out.v = copied(svd.matrixV());
  out.s.assign(svd.singularValues().data(), svd.singularValues().data() + svd.singularValues().size());
  return out;
}

ThinQr thin_qr(const MatrixF64& a) {
  check_finite(a, "QR");
  const int64_t k = std::min(a.rows, a.cols);
  const ColumnMajor copy = view(a);
  const Eigen::HouseholderQR<ColumnMajor> qr(copy);
  ThinQr out;
  out.q = copied(ColumnMajor(qr.householderQ() * ColumnMajor::Identity(a.rows, k)));
  out.r = copied(ColumnMajor(qr.matrixQR().topRows(k).triangularView<Eigen::Upper>()));
  return out;
}

std::vector<std::complex<double>> eigenvalues(const MatrixF64& a) {
  check_square(a);
  check_finite(a, "eigenvalues");
  if (a.rows == 0) return {};
  const ColumnMajor copy = view(a);
  const Eigen::EigenSolver<ColumnMajor> solver(copy, false);
  if (solver.info() != Eigen::Success)
    throw Error(ErrorKind::kUnsupported, "the eigenvalues of a matrix [{}, {}] did not converge", a.rows, a.cols);
  std::vector<std::complex<double>> out(solver.eigenvalues().data(), solver.eigenvalues().data() + a.rows);
  std::sort(out.begin(), out.end(), [](const std::complex<double>& x, const std::complex<double>& y) {
    return std::tuple(-std::norm(x), -x.real(), -x.imag()) < std::tuple(-std::norm(y), -y.real(), -y.imag());
  });
  return out;
}

SymmetricEigen symmetric_eigen(const MatrixF64& a) {
  check_square(a);
  check_finite(a, "eigenvalues");
  SymmetricEigen out;
  if (a.rows == 0) return out;
  const ColumnMajor copy = view(a);
  const Eigen::SelfAdjointEigenSolver<ColumnMajor> solver(copy);
  if (solver.info() != Eigen::Success)
    throw Error(ErrorKind::kUnsupported, "the eigenvalues of a symmetric matrix [{}, {}] did not converge", a.rows, a.cols);
  out.values.assign(solver.eigenvalues().data(), solver.eigenvalues().data() + a.rows);
  out.vectors = copied(solver.eigenvectors());
  return out;
}

MatrixF64 square_root_factor(const MatrixF64& a) {
  const SymmetricEigen e = symmetric_eigen(a);
  MatrixF64 out(a.rows, a.rows);
  for (int64_t i = 0; i < a.rows; ++i) {
    const double root = std::sqrt(std::max(0.0, e.values[i]));
    for (int64_t j = 0; j < a.rows; ++j) out(i, j) = root * e.vectors(j, i);
  }
  return out;
}

MatrixF64 pseudo_inverse(const MatrixF64& a, double tolerance) {
  if (a.rows == 0 || a.cols == 0) return {a.cols, a.rows};
  ThinSvd svd = thin_svd(a);
  const double least = svd.s[0] * tolerance;
  for (size_t k = 0; k < svd.s.size(); ++k) {
    const double inverse = svd.s[k] > least ? 1 / svd.s[k] : 0.0;
    for (int64_t j = 0; j < a.cols; ++j) svd.v(j, static_cast<int64_t>(k)) *= inverse;
  }
  return matmul_nt(svd.v, svd.u);
}

MatrixF64 least_squares(const MatrixF64& a, const MatrixF64& b, double tolerance) {
  MT_CHECK_EQ(a.rows, b.rows);
  return matmul(pseudo_inverse(a, tolerance), b);
}

}  // namespace microtome
