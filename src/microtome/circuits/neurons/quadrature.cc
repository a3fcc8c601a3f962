#include "microtome/circuits/neurons/quadrature.h"

#include <array>
#include <cmath>
#include <numbers>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr std::array<std::string_view, 4> kNames{"gauss", "left", "right", "midpoint"};

// Roots of the Legendre polynomial P_m by Newton's method from Tricomi's guess, in double; P_m by its three-term recurrence.
Quadrature gauss_legendre(int m) {
  Quadrature q{std::vector<double>(m), std::vector<double>(m)};
  for (int i = 0; i < m; ++i) {
    double x = std::cos(std::numbers::pi * (i + 0.75) / (m + 0.5)), derivative = 1;
    for (int iteration = 0; iteration < 100; ++iteration) {
      double before = 1, p = x;
      for (int n = 2; n <= m; ++n) {
        const double next = ((2 * n - 1) * x * p - (n - 1) * before) / n;
        before = p;
        p = next;
      }
      derivative = m * (x * p - before) / (x * x - 1);
      const double step = p / derivative;
      x -= step;
      if (std::abs(step) < 1e-15) break;
    }
    q.nodes[m - 1 - i] = 0.5 * (1 + x);
    q.weights[m - 1 - i] = 1 / ((1 - x * x) * derivative * derivative);
  }
  return q;
}

}  // namespace

std::string_view quadrature_name(QuadratureRule rule) { return kNames[static_cast<size_t>(rule)]; }

QuadratureRule parse_quadrature(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<QuadratureRule>(i);
  throw Error(ErrorKind::kInvalidArgument, "integration rule \"{}\": expected gauss, left, right or midpoint", printable(name));
}

Quadrature quadrature(QuadratureRule rule, int m) {
  MT_CHECK(m >= 1);
  if (rule == QuadratureRule::kGauss) return gauss_legendre(m);
  const double shift = rule == QuadratureRule::kLeft ? 0 : rule == QuadratureRule::kRight ? 1 : 0.5;
  Quadrature q{std::vector<double>(m), std::vector<double>(m, 1.0 / m)};
  for (int k = 0; k < m; ++k) q.nodes[k] = (k + shift) / m;
  return q;
}

}  // namespace microtome
