// Reverse-mode differentiation. Without a tape an operation just runs; with one it is recorded, if anything it reads is on it.
//
//   Tape tape(ctx);
//   Value w = tape.leaf(tensor);
//   Value y = call<Linear>(&tape, ctx, {view}, x, w, b);
//   y = tape.tap(y, [](const Tensor& dy) { ... });     // sees the gradient at this place
//   tape.backward(y, seed);
//   tape.gradient(w);
//
// A Value is a tensor and, if its gradient is wanted by anybody, its place on the tape. Only what lies between a leaf or a tap
// and the result is recorded. One thread.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "microtome/ops/op.h"

namespace microtome {

struct Value {
  Tensor data;
  int node = -1;  // -1: not on the tape

  Value() = default;
  Value(Tensor t, int n = -1) : data(std::move(t)), node(n) {}  // NOLINT: a tensor is a value that nobody differentiates
  bool defined() const { return data.defined(); }
};

class Tape {
 public:
  explicit Tape(const OpContext& ctx) : ctx_(ctx) {}

  // A value whose gradient is kept until the tape goes. `data` may be undefined (packed weights).
  Value leaf(Tensor data);

  // The same value; `sink` is called with its gradient during backward.
  Value tap(const Value& value, std::function<void(const Tensor& gradient)> sink);

  // Value of an operation with a backward of its own: called once with the gradient of `data`; gives gradients to parents
  // through add_gradient.
  Value record(Tensor data, std::function<void(const Tensor& dy)> backward);

  // Adds to the gradient of a node (-1: dropped).
  void add_gradient(int node, const Tensor& gradient);

  // Runs all recorded backwards, last first, from `result` with the given gradient, and frees what they kept: once per tape.
  void backward(const Value& result, const Tensor& seed);

  // The same and keeps them, for further gradients of the same values (rows of a Jacobian). Leaves begin at zero each time.
  void backward_again(const Value& result, const Tensor& seed);

  // Gradient of a leaf; undefined if nothing reached it.
  Tensor gradient(const Value& leaf) const;

  size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    std::function<void(const Tensor&)> backward;  // empty: a leaf
    Shape shape;                                  // of the value and its gradient; empty: as it comes (packed weights)
    Tensor gradient;
  };
  void run(const Value& result, const Tensor& seed, bool keep);
  OpContext ctx_;
  std::vector<Node> nodes_;
};

// Runs Op on the inputs (as many as Op::kInputs; absent optional ones are Value()), and records it where needed.
template <class Op, class... Values>
Value call(Tape* tape, const OpContext& ctx, typename Op::Params params, const Values&... inputs) {
  static_assert(sizeof...(Values) == Op::kInputs);
  Inputs in{inputs.data...};
  const std::array<int, Op::kInputs> nodes{inputs.node...};
  Gradients wanted;
  bool recorded = false;
  if (tape) {
    for (int i = 0; i < Op::kInputs; ++i) {
      wanted.want(i, nodes[i] >= 0);
      recorded = recorded || nodes[i] >= 0;
    }
  }
  if (!recorded) return Op::forward(ctx, params, in, nullptr);

  Saved saved;
  Tensor y = Op::forward(ctx, params, in, &saved);
  for (int i = 0; i < Op::kInputs; ++i)
    if (!Op::keeps(i, wanted)) in[i] = Tensor();
  return tape->record(y, [tape, ctx, params = std::move(params), in, saved, wanted, nodes](const Tensor& dy) {
    Gradients d = wanted;
    Op::backward(ctx, params, in, saved, dy, d);
    for (int i = 0; i < Op::kInputs; ++i)
      if (d.wants(i)) tape->add_gradient(nodes[i], d.of(i));
  });
}

}  // namespace microtome
