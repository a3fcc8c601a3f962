#include "microtome/tape/tape.h"

namespace microtome {

Value Tape::leaf(Tensor data) {
  nodes_.emplace_back();
  return {std::move(data), static_cast<int>(nodes_.size()) - 1};
}

Value Tape::tap(const Value& value, std::function<void(const Tensor&)> sink) {
  return record(value.data, [this, parent = value.node, sink = std::move(sink)](const Tensor& dy) {
    sink(dy);
    add_gradient(parent, dy);
  });
}

Value Tape::record(Tensor data, std::function<void(const Tensor&)> backward) {
  nodes_.push_back({std::move(backward), data.shape(), {}});
  return {std::move(data), static_cast<int>(nodes_.size()) - 1};
}

void Tape::add_gradient(int node, const Tensor& gradient) {
  if (node < 0) return;
  MT_CHECK(gradient.defined());
  Tensor& sum = nodes_[node].gradient;
  if (!sum.defined()) {
    // Operations that take rows together give gradients by rows.
    sum = nodes_[node].shape.empty() ? gradient : gradient.view(nodes_[node].shape);
    return;
  }
  MT_CHECK_EQ(sum.numel(), gradient.numel());
  // Handles are shared freely between gradients (the two sides of an addition), so only a sole owner is added to in place.
  Tensor out = sum.unique() ? sum : Tensor::empty(sum.shape(), ctx_.arena);
  ctx_.kernels.add(sum.numel(), sum.f32(), gradient.f32(), out.f32());
  sum = out;
}

void Tape::backward(const Value& result, const Tensor& seed) { run(result, seed, false); }

void Tape::backward_again(const Value& result, const Tensor& seed) {
  for (Node& n : nodes_) n.gradient = Tensor();
  run(result, seed, true);
}

void Tape::run(const Value& result, const Tensor& seed, bool keep) {
  MT_CHECK(result.node >= 0);
  add_gradient(result.node, seed);
  for (int i = result.node; i >= 0; --i) {
    if (!nodes_[i].backward || !nodes_[i].gradient.defined()) continue;
    const Tensor gradient = std::move(nodes_[i].gradient);
    nodes_[i].gradient = Tensor();
    if (keep) {
      nodes_[i].backward(gradient);
      continue;
    }
    const auto backward = std::move(nodes_[i].backward);
    nodes_[i].backward = nullptr;  // frees what it kept
    backward(gradient);
  }
}

Tensor Tape::gradient(const Value& leaf) const { return leaf.node < 0 ? Tensor() : nodes_[leaf.node].gradient; }

}  // namespace microtome
