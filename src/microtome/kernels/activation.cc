#include "microtome/kernels/fused.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "microtome/kernels/activation.cc"
#include "hwy/foreach_target.h"
// After foreach_target.h, by Highway's rules.
#include "microtome/base/threads.h"
#include "microtome/kernels/row_pieces.h"
#include "microtome/kernels/vector_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace microtome::HWY_NAMESPACE {

// Each activation: its value, and its derivative.
struct Relu {
  static HWY_INLINE VF value(VF x) { return hn::IfThenElse(hn::Lt(x, hn::Zero(F32())), hn::Zero(F32()), x); }
  static HWY_INLINE VF slope(VF x) { return hn::IfThenElseZero(hn::Gt(x, hn::Zero(F32())), hn::Set(F32(), 1.0f)); }
};

struct Gelu {
  static HWY_INLINE VF value(VF x) { return hn::Mul(x, normal_cdf(x)); }
  static HWY_INLINE VF slope(VF x) {
    const F32 d;
    const VF density = hn::Mul(hn::Set(d, 0.398942280f), exp_vector(hn::Mul(hn::Set(d, -0.5f), hn::Mul(x, x))));
    return hn::MulAdd(x, density, normal_cdf(x));
  }
};

// sigma(u) and 1 - sigma(u), both without cancellation.
struct Sigmoid {
  VF value, rest;
  explicit HWY_INLINE Sigmoid(VF u) {
    const VF one = hn::Set(F32(), 1.0f), e = exp_vector(hn::Neg(u));
    value = hn::Div(one, hn::Add(one, e));
    rest = hn::Mul(e, value);
  }
};

// (1 + tanh u) / 2 = sigma(2 u), u = sqrt(2 / pi) (x + .044715 x^3). x^2 is capped where the gate has long been 0 or 1.
struct GeluTanh {
  static HWY_INLINE VF capped_square(VF x) {
    const VF square = hn::Mul(x, x), most = hn::Set(F32(), 1e6f);
    return hn::IfThenElse(hn::Gt(square, most), most, square);
  }
  static HWY_INLINE Sigmoid gate(VF x, VF square) {
    const F32 d;
    return Sigmoid(hn::Mul(x, hn::MulAdd(square, hn::Set(d, 0.0713548163f), hn::Set(d, 1.59576912f))));
  }
  static HWY_INLINE VF value(VF x) { return hn::Mul(x, gate(x, capped_square(x)).value); }
  static HWY_INLINE VF slope(VF x) {
    const F32 d;
    const VF square = capped_square(x);
    const Sigmoid s = gate(x, square);
    const VF rate = hn::MulAdd(square, hn::Set(d, 0.214064449f), hn::Set(d, 1.59576912f));
    return hn::MulAdd(hn::Mul(x, s.value), hn::Mul(s.rest, rate), s.value);
  }
};

struct Silu {
  static HWY_INLINE VF value(VF x) { return hn::Mul(x, Sigmoid(x).value); }
  static HWY_INLINE VF slope(VF x) {
    const Sigmoid s(x);
    return hn::MulAdd(hn::Mul(x, s.value), s.rest, s.value);
  }
};

template <class A>
HWY_INLINE void gated_backward(int64_t n, const float* gate, const float* up, const float* dy, float* dgate, float* dup) {
  const F32 d;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t left = n - i;
    const auto load = [&](const float* p) HWY_ATTR { return left >= kLanes ? hn::LoadU(d, p + i) : load_first(p + i, left, 0); };
    const auto store = [&](VF v, float* p) HWY_ATTR { left >= kLanes ? hn::StoreU(v, d, p + i) : store_first(v, p + i, left); };
    const VF g = load(gate), u = load(up), grad = load(dy);
    store(hn::Mul(hn::Mul(grad, u), A::slope(g)), dgate);
    store(hn::Mul(grad, A::value(g)), dup);
  }
}

template <class Run>
HWY_INLINE void choose(Activation a, const Run& run) {
  switch (a) {
    case Activation::kRelu: return run(Relu());
    case Activation::kGelu: return run(Gelu());
    case Activation::kGeluTanh: return run(GeluTanh());
    case Activation::kSilu: return run(Silu());
  }
}

void activation_range(Activation a, int64_t n, const float* x, float* y) {
  choose(a, [&](auto op) HWY_ATTR {
    map(
        n, [](VF v) HWY_ATTR { return decltype(op)::value(v); }, y, x);
  });
}

void activation_backward_range(Activation a, int64_t n, const float* x, const float* dy, float* dx) {
  choose(a, [&](auto op) HWY_ATTR {
    map(
        n, [](VF v, VF g) HWY_ATTR { return hn::Mul(g, decltype(op)::slope(v)); }, dx, x, dy);
  });
}

void gated_range(Activation a, int64_t n, const float* gate, const float* up, float* y) {
  choose(a, [&](auto op) HWY_ATTR {
    map(
        n, [](VF g, VF u) HWY_ATTR { return hn::Mul(decltype(op)::value(g), u); }, y, gate, up);
  });
}

void gated_backward_range(Activation a, int64_t n, const float* gate, const float* up, const float* dy, float* dgate,
                          float* dup) {
  choose(a, [&](auto op) HWY_ATTR { gated_backward<decltype(op)>(n, gate, up, dy, dgate, dup); });
}

}  // namespace microtome::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace microtome {

HWY_EXPORT(activation_range);
HWY_EXPORT(activation_backward_range);
HWY_EXPORT(gated_range);
HWY_EXPORT(gated_backward_range);

void activation(Activation a, int64_t n, const float* x, float* y) {
  parallel_for(n, internal::kPieceValues, [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(activation_range)(a, e - b, x + b, y + b);
  });
}

void activation_backward(Activation a, int64_t n, const float* x, const float* dy, float* dx) {
  parallel_for(n, internal::kPieceValues, [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(activation_backward_range)(a, e - b, x + b, dy + b, dx + b);
  });
}

void gated_activation(Activation a, int64_t n, const float* gate, const float* up, float* y) {
  parallel_for(n, internal::kPieceValues, [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(gated_range)(a, e - b, gate + b, up + b, y + b);
  });
}

void gated_activation_backward(Activation a, int64_t n, const float* gate, const float* up, const float* dy, float* dgate,
                               float* dup) {
  parallel_for(n, internal::kPieceValues, [&](int64_t b, int64_t e) {
    HWY_DYNAMIC_DISPATCH(gated_backward_range)(a, e - b, gate + b, up + b, dy + b, dgate + b, dup + b);
  });
}

}  // namespace microtome
#endif
