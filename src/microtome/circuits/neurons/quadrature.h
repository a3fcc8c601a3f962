// Nodes and weights that integrate a function over [0, 1].
//
//   const Quadrature q = quadrature(QuadratureRule::kGauss, 20);
//   for (size_t k = 0; k < q.nodes.size(); ++k) sum += q.weights[k] * f(q.nodes[k]);
//
// Pure functions.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace microtome {

enum class QuadratureRule : uint8_t {
  kGauss,     // Gauss-Legendre: exact for polynomials up to degree 2 m - 1
  kLeft,      // k / m, k = 0 .. m - 1 (never reaches 1)
  kRight,     // k / m, k = 1 .. m
  kMidpoint,  // (k + 1/2) / m
};

// "gauss", "left", "right", "midpoint"; the reverse throws InvalidArgument with the names there are.
std::string_view quadrature_name(QuadratureRule rule);
QuadratureRule parse_quadrature(std::string_view name);

struct Quadrature {
  std::vector<double> nodes, weights;  // m each, nodes rising; the weights' sum is 1
};

// m >= 1.
Quadrature quadrature(QuadratureRule rule, int m);

}  // namespace microtome
