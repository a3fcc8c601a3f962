// Activations and the small maps.
#include "op_case.h"

namespace microtome::op_table {
namespace {

struct Activate {
  struct Shape {
    Activation a;
    int64_t n;
  };
  template <class K, class T = typename K::T>
  static void forward(const Shape& s, const Arrays<T>& in, Arrays<T>& out) {
    K::activation(s.a, s.n, in[0].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const Shape& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    K::activation_backward(s.a, s.n, in[0].data(), dout[0].data(), din[0].data());
  }
};

struct Gated {
  template <class K, class T = typename K::T>
  static void forward(const Activate::Shape& s, const Arrays<T>& in, Arrays<T>& out) {
    K::gated_activation(s.a, s.n, in[0].data(), in[1].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const Activate::Shape& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    K::gated_activation_backward(s.a, s.n, in[0].data(), in[1].data(), dout[0].data(), din[0].data(), din[1].data());
  }
};

struct Add {
  template <class K, class T = typename K::T>
  static void forward(int64_t n, const Arrays<T>& in, Arrays<T>& out) {
    K::add(n, in[0].data(), in[1].data(), out[0].data());
  }
};

struct Multiply {
  template <class K, class T = typename K::T>
  static void forward(int64_t n, const Arrays<T>& in, Arrays<T>& out) {
    K::multiply(n, in[0].data(), in[1].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(int64_t n, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    K::multiply(n, dout[0].data(), in[1].data(), din[0].data());
    K::multiply(n, dout[0].data(), in[0].data(), din[1].data());
  }
};

struct ScaleBy {
  template <class K, class T = typename K::T>
  static void forward(int64_t n, const Arrays<T>& in, Arrays<T>& out) {
    K::scale_by(n, T(.625), in[0].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(int64_t n, const Arrays<T>&, const Arrays<T>& dout, Arrays<T>& din) {
    K::scale_by(n, T(.625), dout[0].data(), din[0].data());
  }
};

// y = in[1] + factor * in[0]: the gradient accumulates in the same way.
struct AddScaled {
  template <class K, class T = typename K::T>
  static void forward(int64_t n, const Arrays<T>& in, Arrays<T>& out) {
    out[0] = in[1];
    K::add_scaled(n, T(-1.75), in[0].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(int64_t n, const Arrays<T>&, const Arrays<T>& dout, Arrays<T>& din) {
    K::add_scaled(n, T(-1.75), dout[0].data(), din[0].data());
    K::add_scaled(n, T(1), dout[0].data(), din[1].data());
  }
};

struct Rows {
  int64_t rows, d;
};

struct AddBias {
  template <class K, class T = typename K::T>
  static void forward(const Rows& s, const Arrays<T>& in, Arrays<T>& out) {
    K::add_bias(s.rows, s.d, in[0].data(), in[1].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const Rows& s, const Arrays<T>&, const Arrays<T>& dout, Arrays<T>& din) {
    K::add_scaled(s.rows * s.d, T(1), dout[0].data(), din[0].data());
    K::column_sums(s.rows, s.d, dout[0].data(), din[1].data());
  }
};

struct Transpose {
  template <class K, class T = typename K::T>
  static void forward(const Rows& s, const Arrays<T>& in, Arrays<T>& out) {
    K::transpose(s.rows, s.d, in[0].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const Rows& s, const Arrays<T>&, const Arrays<T>& dout, Arrays<T>& din) {
    K::transpose(s.d, s.rows, dout[0].data(), din[0].data());
  }
};

}  // namespace

std::vector<OpCase> map_cases(Sizes sizes) {
  const bool bench = sizes == Sizes::kBench;
  std::vector<OpCase> cases;
  for (const int64_t n : bench ? std::vector<int64_t>{512 * 1536} : std::vector<int64_t>{1, 15, 64, 1003}) {
    const std::string at = "_" + std::to_string(n);
    for (const auto& [a, name] : {std::pair{Activation::kRelu, "relu"},
                                  {Activation::kGelu, "gelu"},
                                  {Activation::kGeluTanh, "gelu_tanh"},
                                  {Activation::kSilu, "silu"}}) {
      cases.push_back(make_case<Activate>(name + at, Activate::Shape{a, n}, {n}, {n}));
      cases.back().low = -12, cases.back().high = 12;
      cases.push_back(make_case<Gated>(std::string("gated_") + name + at, Activate::Shape{a, n}, {n, n}, {n}));
    }
    cases.push_back(make_case<Add>("add" + at, n, {n, n}, {n}));
    cases.push_back(make_case<Multiply>("multiply" + at, n, {n, n}, {n}));
    cases.push_back(make_case<ScaleBy>("scale_by" + at, n, {n}, {n}));
    cases.push_back(make_case<AddScaled>("add_scaled" + at, n, {n, n}, {n}));
  }
  for (const Rows& r :
       bench ? std::vector<Rows>{{512, 1536}} : std::vector<Rows>{{1, 1}, {7, 19}, {130, 33}, {3, 300}, {37, 70}}) {
    const std::string at = "_" + std::to_string(r.rows) + "x" + std::to_string(r.d);
    cases.push_back(make_case<AddBias>("add_bias" + at, r, {r.rows * r.d, r.d}, {r.rows * r.d}));
    cases.push_back(make_case<Transpose>("transpose" + at, r, {r.rows * r.d}, {r.rows * r.d}));
  }
  return cases;
}

}  // namespace microtome::op_table
