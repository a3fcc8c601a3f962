// Norms, rotary embedding, softmax and cross-entropy.
#include <cmath>

#include "op_case.h"

namespace microtome::op_table {
namespace {

struct Norm {
  struct Shape {
    NormShape norm;
    bool gamma = true, beta = true;
  };
  template <class K, class T = typename K::T>
  static void forward(const Shape& s, const Arrays<T>& in, Arrays<T>& out) {
    K::norm(s.norm, in[0].data(), s.gamma ? in[1].data() : nullptr, s.beta ? in[2].data() : nullptr, out[0].data(),
            static_cast<T*>(nullptr));
  }
  template <class K, class T = typename K::T>
  static void backward(const Shape& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    std::vector<T> scale(static_cast<size_t>(s.norm.rows));
    K::norm_scale(s.norm, in[0].data(), scale.data());
    K::norm_backward(s.norm, in[0].data(), s.gamma ? in[1].data() : nullptr, scale.data(), dout[0].data(), din[0].data(),
                     s.gamma ? din[1].data() : nullptr, s.beta ? din[2].data() : nullptr);
  }
};

struct NormScale {
  template <class K, class T = typename K::T>
  static void forward(const NormShape& s, const Arrays<T>& in, Arrays<T>& out) {
    K::norm_scale(s, in[0].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const NormShape& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    std::vector<T> scale(static_cast<size_t>(s.rows));
    K::norm_scale(s, in[0].data(), scale.data());
    K::norm_scale_backward(s, in[0].data(), scale.data(), dout[0].data(), din[0].data());
  }
};

// The scale is an input of its own.
struct NormNormalize {
  template <class T>
  static std::vector<T> positive(const std::vector<T>& raw) {
    std::vector<T> scale(raw);
    for (T& v : scale) v = T(1) + v * v;
    return scale;
  }
  template <class K, class T = typename K::T>
  static void forward(const NormShape& s, const Arrays<T>& in, Arrays<T>& out) {
    K::norm_normalize(s, in[0].data(), positive(in[1]).data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const NormShape& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    K::norm_normalize_backward(s, in[0].data(), positive(in[1]).data(), dout[0].data(), din[0].data(), din[1].data());
    for (size_t i = 0; i < din[1].size(); ++i) din[1][i] *= 2 * in[1][i];
  }
};

struct NormAffine {
  struct Shape {
    int64_t rows, d;
  };
  template <class K, class T = typename K::T>
  static void forward(const Shape& s, const Arrays<T>& in, Arrays<T>& out) {
    K::norm_affine(s.rows, s.d, in[0].data(), in[1].data(), in[2].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const Shape& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    K::norm_affine_backward(s.rows, s.d, in[0].data(), in[1].data(), dout[0].data(), din[0].data(), din[1].data(), din[2].data());
  }
};

struct Rope {
  static constexpr int32_t kPositions = 40;
  template <class K, class T = typename K::T>
  static void run(const RopeShape& s, const std::vector<T>& x, std::vector<T>& y) {
    const int64_t half = s.rotary / 2;
    std::vector<T> cos(static_cast<size_t>(kPositions * half)), sin(cos);
    for (int64_t i = 0; i < kPositions * half; ++i) {
      const double angle =
          static_cast<double>(i / half) * std::pow(1e4, -static_cast<double>(i % half) / static_cast<double>(half));
      cos[static_cast<size_t>(i)] = static_cast<T>(std::cos(angle));
      sin[static_cast<size_t>(i)] = static_cast<T>(std::sin(angle));
    }
    std::vector<int32_t> positions(static_cast<size_t>(s.rows));
    for (size_t r = 0; r < positions.size(); ++r) positions[r] = static_cast<int32_t>(r * 7) % kPositions;
    K::rope(s, x.data(), positions.data(), cos.data(), sin.data(), y.data());
  }
  template <class K, class T = typename K::T>
  static void forward(const RopeShape& s, const Arrays<T>& in, Arrays<T>& out) {
    run<K>(s, in[0], out[0]);
  }
  template <class K, class T = typename K::T>
  static void backward(const RopeShape& s, const Arrays<T>&, const Arrays<T>& dout, Arrays<T>& din) {
    RopeShape back = s;
    back.inverse = !s.inverse;
    run<K>(back, dout[0], din[0]);
  }
};

struct Rows {
  int64_t rows, d;
};

struct Softmax {
  template <class K, class T = typename K::T>
  static void forward(const Rows& s, const Arrays<T>& in, Arrays<T>& out) {
    K::softmax(s.rows, s.d, in[0].data(), out[0].data());
  }
  template <class K, class T = typename K::T>
  static void backward(const Rows& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    std::vector<T> y(in[0].size());
    K::softmax(s.rows, s.d, in[0].data(), y.data());
    K::softmax_backward(s.rows, s.d, y.data(), dout[0].data(), din[0].data());
  }
};

// Outputs: the loss and lse of each row; the gradient of lse is not an operation, its dout is ignored by taking it as 0.
struct CrossEntropy {
  static std::vector<int32_t> targets(const Rows& s) {
    std::vector<int32_t> t(static_cast<size_t>(s.rows));
    for (size_t r = 0; r < t.size(); ++r) t[r] = r % 5 == 3 ? -1 : static_cast<int32_t>(static_cast<int64_t>(r * 31) % s.d);
    return t;
  }
  template <class K, class T = typename K::T>
  static void forward(const Rows& s, const Arrays<T>& in, Arrays<T>& out) {
    std::vector<double> loss(static_cast<size_t>(s.rows)), lse(loss);
    K::cross_entropy(s.rows, s.d, in[0].data(), targets(s).data(), loss.data(), lse.data());
    std::copy(loss.begin(), loss.end(), out[0].begin());
  }
  template <class K, class T = typename K::T>
  static void backward(const Rows& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    std::vector<double> lse(static_cast<size_t>(s.rows));
    K::log_sum_exp(s.rows, s.d, in[0].data(), lse.data());
    K::cross_entropy_backward(s.rows, s.d, in[0].data(), targets(s).data(), dout[0].data(), lse.data(), din[0].data());
  }
};

std::string suffix(int64_t rows, int64_t d) { return "_" + std::to_string(rows) + "x" + std::to_string(d); }

void add_norms(int64_t rows, int64_t d, std::vector<OpCase>& cases) {
  for (const bool center : {false, true}) {
    const NormShape s{rows, d, center, 1e-5f};
    const std::string kind = center ? "layer_norm" : "rms_norm", at = suffix(rows, d);
    for (const bool gamma : {true, false}) {
      for (const bool beta : {true, false}) {
        if (rows > 256 && (!gamma || beta != center)) continue;
        const std::string name = kind + (gamma ? "_gamma" : "") + (beta ? "_beta" : "") + at;
        cases.push_back(make_case<Norm>(name, Norm::Shape{s, gamma, beta}, {rows * d, d, d}, {rows * d}));
      }
    }
    cases.push_back(make_case<NormScale>(kind + "_scale" + at, s, {rows * d}, {rows}));
    cases.push_back(make_case<NormNormalize>(kind + "_normalize" + at, s, {rows * d, rows}, {rows * d}));
  }
  cases.push_back(
      make_case<NormAffine>("norm_affine" + suffix(rows, d), NormAffine::Shape{rows, d}, {rows * d, d, d}, {rows * d}));
}

}  // namespace

std::vector<OpCase> norm_cases(Sizes sizes) {
  const bool bench = sizes == Sizes::kBench;
  std::vector<OpCase> cases;
  for (const Rows& r : bench ? std::vector<Rows>{{512, 576}} : std::vector<Rows>{{1, 2}, {3, 16}, {5, 37}, {70, 67}, {2, 576}}) {
    add_norms(r.rows, r.d, cases);
  }
  for (const RopeShape& s : bench ? std::vector<RopeShape>{{512, 9, 64, 64, false, false}, {512, 9, 64, 64, true, false}}
                                  : std::vector<RopeShape>{{5, 3, 64, 64, false, false},
                                                           {4, 2, 64, 16, false, false},
                                                           {3, 3, 10, 6, false, true},
                                                           {5, 2, 40, 38, true, false},
                                                           {2, 1, 9, 4, true, true},
                                                           {2, 2, 8, 0, false, false}}) {
    const std::string name = std::string(s.adjacent ? "rope_adjacent" : "rope_split") + (s.inverse ? "_inverse" : "");
    const int64_t n = s.rows * s.heads * s.d;
    cases.push_back(make_case<Rope>(name + suffix(s.rows * s.heads, s.d) + "_" + std::to_string(s.rotary), s, {n}, {n}));
  }
  for (const Rows& r : bench ? std::vector<Rows>{{64, 49152}} : std::vector<Rows>{{1, 1}, {6, 33}, {9, 5}, {2, 1000}}) {
    cases.push_back(make_case<Softmax>("softmax" + suffix(r.rows, r.d), r, {r.rows * r.d}, {r.rows * r.d}));
    cases.push_back(make_case<CrossEntropy>("cross_entropy" + suffix(r.rows, r.d), r, {r.rows * r.d}, {r.rows}));
  }
  return cases;
}

}  // namespace microtome::op_table
