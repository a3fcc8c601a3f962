// Attention: the fused primitive, and its stages as operations of their own.
#include <cmath>
#include <memory>

#include "attention_data.h"
#include "op_case.h"

namespace microtome::op_table {
namespace {

// Inputs: q [rows, d], k [slots, d], v [slots, dv], bias [keys] where used. Outputs: z [rows, dv], lse [rows].
struct Attend {
  static std::function<void()> prepare(const AttentionData& s, const Arrays<float>& in, Arrays<float>& out) {
    return [s, view = std::make_shared<const View<float>>(s, in), z = row_pointers(out[0].data(), s.rows, s.shape.dv),
            lse = out[1].data()] {
      attention_block(s.shape, view->blocks(), view->rows.data(), s.rows, z.data(), lse, view->scratch());
    };
  }

  template <class K, class T = typename K::T>
  static void forward(const AttentionData& s, const Arrays<T>& in, Arrays<T>& out) {
    if constexpr (std::is_same_v<K, Fast>) {
      prepare(s, in, out)();
    } else {
      const View<T> view(s, in);
      std::vector<T> p(static_cast<size_t>(s.keys));
      for (int64_t i = 0; i < s.rows; ++i) {
        reference::attention_scores<T>(view.keys(), view.query(i), p.data());
        out[1][static_cast<size_t>(i)] = reference::attention_softmax<T>(view.query(i), p.data());
        reference::attention_apply<T>(view.keys(), view.query(i), p.data(), out[0].data() + i * s.shape.dv);
      }
    }
  }

  template <class K, class T = typename K::T>
  static void backward(const AttentionData& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    const View<T> view(s, in);
    const std::vector<T*> dq = row_pointers(din[0].data(), s.rows, s.shape.d);
    const std::vector<T*> dk = row_pointers(din[1].data(), s.n_blocks(), kKeyBlock * s.shape.d);
    const std::vector<T*> dv = row_pointers(din[2].data(), s.n_blocks(), kKeyBlock * s.shape.dv);
    if constexpr (std::is_same_v<K, Fast>) {
      const std::vector<const float*> dz = row_pointers(dout[0].data(), s.rows, s.shape.dv);
      attention_block_backward(s.shape, view.blocks(), view.rows.data(), s.rows, dz.data(), dout[1].data(), dq.data(), dk.data(),
                               dv.data(), view.scratch());
    } else {
      std::vector<T> scores(static_cast<size_t>(s.keys)), p(scores), g(scores);
      for (int64_t i = 0; i < s.rows; ++i) {
        const auto row = view.query(i);
        reference::attention_scores<T>(view.keys(), row, scores.data());
        p = scores;
        reference::attention_softmax<T>(row, p.data());
        reference::attention_apply_backward<T>(view.keys(), row, p.data(), dout[0].data() + i * s.shape.dv, g.data(), dv.data());
        reference::attention_softmax_backward<T>(row, p.data(), g.data(), dout[1][static_cast<size_t>(i)], g.data());
        reference::attention_scores_backward<T>(view.keys(), row, scores.data(), g.data(), dq[static_cast<size_t>(i)], dk.data());
      }
    }
  }
};

// Inputs: q, k. Output: scores [rows, keys], 0 where hidden.
struct Scores {
  static std::function<void()> prepare(const AttentionData& s, const Arrays<float>& in, Arrays<float>& out) {
    return [s, view = std::make_shared<const View<float>>(s, in), scores = out[0].data()] { run<Fast>(s, *view, scores); };
  }
  template <class K, class T = typename K::T>
  static void run(const AttentionData& s, const View<T>& view, T* scores) {
    if constexpr (std::is_same_v<K, Fast>) {
      attention_scores(s.shape, view.blocks(), view.rows.data(), s.rows, scores, s.keys, view.scratch());
    } else {
      for (int64_t i = 0; i < s.rows; ++i) reference::attention_scores<T>(view.keys(), view.query(i), scores + i * s.keys);
    }
  }
  template <class K, class T = typename K::T>
  static void forward(const AttentionData& s, const Arrays<T>& in, Arrays<T>& out) {
    run<K>(s, View<T>(s, in), out[0].data());
    for (T& v : out[0]) v = std::isinf(v) ? T(0) : v;
  }
  template <class K, class T = typename K::T>
  static void backward(const AttentionData& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    const View<T> view(s, in);
    std::vector<T> scores(dout[0].size());
    run<K>(s, view, scores.data());
    const std::vector<T*> dq = row_pointers(din[0].data(), s.rows, s.shape.d);
    const std::vector<T*> dk = row_pointers(din[1].data(), s.n_blocks(), kKeyBlock * s.shape.d);
    if constexpr (std::is_same_v<K, Fast>) {
      attention_scores_backward(s.shape, view.blocks(), view.rows.data(), s.rows, scores.data(), dout[0].data(), s.keys,
                                dq.data(), dk.data(), view.scratch());
    } else {
      for (int64_t i = 0; i < s.rows; ++i) {
        reference::attention_scores_backward<T>(view.keys(), view.query(i), scores.data() + i * s.keys,
                                                dout[0].data() + i * s.keys, dq[static_cast<size_t>(i)], dk.data());
      }
    }
  }
};

// Input: scores [rows, keys]. Output: pattern [rows, keys].
struct Pattern {
  template <class K, class T = typename K::T>
  static void forward(const AttentionData& s, const Arrays<T>& in, Arrays<T>& out) {
    const View<T> view(s, {{}, {}, {}});
    out[0] = in[0];
    for (int64_t i = 0; i < s.rows; ++i)
      std::fill(out[0].begin() + i * s.keys + s.end(i), out[0].begin() + (i + 1) * s.keys, T(0));
    if constexpr (std::is_same_v<K, Fast>) {
      attention_softmax(view.rows.data(), s.rows, out[0].data(), s.keys, nullptr);
    } else {
      for (int64_t i = 0; i < s.rows; ++i) reference::attention_softmax<T>(view.query(i), out[0].data() + i * s.keys);
    }
  }
  template <class K, class T = typename K::T>
  static void backward(const AttentionData& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    const View<T> view(s, {{}, {}, {}});
    Arrays<T> p(1, std::vector<T>(in[0].size()));
    forward<K>(s, in, p);
    if constexpr (std::is_same_v<K, Fast>) {
      attention_softmax_backward(view.rows.data(), s.rows, p[0].data(), dout[0].data(), s.keys, din[0].data());
    } else {
      for (int64_t i = 0; i < s.rows; ++i) {
        const int64_t at = i * s.keys;
        reference::attention_softmax_backward<T>(view.query(i), p[0].data() + at, dout[0].data() + at, T(0), din[0].data() + at);
      }
    }
  }
};

// Inputs: pattern [rows, keys], unused, v. Output: z.
struct Apply {
  static std::function<void()> prepare(const AttentionData& s, const Arrays<float>& in, Arrays<float>& out) {
    const Arrays<float> values = {{}, {}, in[2]};
    return [s, view = std::make_shared<const View<float>>(s, values), pattern = in[0].data(),
            z = row_pointers(out[0].data(), s.rows, s.shape.dv)] {
      attention_apply(s.shape, view->blocks(), view->rows.data(), s.rows, pattern, s.keys, z.data(), view->scratch());
    };
  }

  template <class K, class T = typename K::T>
  static void forward(const AttentionData& s, const Arrays<T>& in, Arrays<T>& out) {
    if constexpr (std::is_same_v<K, Fast>) {
      prepare(s, in, out)();
    } else {
      const View<T> view(s, {{}, {}, in[2]});
      for (int64_t i = 0; i < s.rows; ++i) {
        reference::attention_apply<T>(view.keys(), view.query(i), in[0].data() + i * s.keys, out[0].data() + i * s.shape.dv);
      }
    }
  }
  template <class K, class T = typename K::T>
  static void backward(const AttentionData& s, const Arrays<T>& in, const Arrays<T>& dout, Arrays<T>& din) {
    const View<T> view(s, {{}, {}, in[2]});
    const std::vector<T*> dv = row_pointers(din[2].data(), s.n_blocks(), kKeyBlock * s.shape.dv);
    if constexpr (std::is_same_v<K, Fast>) {
      const std::vector<const float*> dz = row_pointers(dout[0].data(), s.rows, s.shape.dv);
      attention_apply_backward(s.shape, view.blocks(), view.rows.data(), s.rows, in[0].data(), s.keys, dz.data(), din[0].data(),
                               dv.data(), view.scratch());
    } else {
      for (int64_t i = 0; i < s.rows; ++i) {
        reference::attention_apply_backward<T>(view.keys(), view.query(i), in[0].data() + i * s.keys,
                                               dout[0].data() + i * s.shape.dv, din[0].data() + i * s.keys, dv.data());
      }
    }
  }
};

}  // namespace

std::vector<OpCase> attention_cases(Sizes sizes) {
  std::vector<OpCase> cases;
  for (const AttentionData& s : attention_data(sizes == Sizes::kBench)) {
    const int64_t slots = s.n_blocks() * kKeyBlock, d = s.shape.d, dv = s.shape.dv;
    const auto push = [&](OpCase c, double flops_per_key) {
      c.flops = flops_per_key * static_cast<double>(s.pairs());
      c.tolerance = 3e-6, c.gradient_tolerance = 1e-5;
      c.low = -1, c.high = 1;
      cases.push_back(std::move(c));
    };
    push(make_case<Attend>("attention_" + s.name, s, {s.rows * d, slots * d, slots * dv}, {s.rows * dv, s.rows}),
         2.0 * static_cast<double>(d + dv));
    push(make_case<Scores>("attention_scores_" + s.name, s, {s.rows * d, slots * d}, {s.rows * s.keys}),
         2.0 * static_cast<double>(d));
    push(make_case<Pattern>("attention_softmax_" + s.name, s, {s.rows * s.keys}, {s.rows * s.keys}), 4.0);
    push(make_case<Apply>("attention_apply_" + s.name, s, {s.rows * s.keys, 1, slots * dv}, {s.rows * dv}),
         2.0 * static_cast<double>(dv));
  }
  return cases;
}

}  // namespace microtome::op_table
