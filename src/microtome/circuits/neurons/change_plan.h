// Internal to neurons: a plan's edits that give each row of a pass a change of its own, and what a row's logits mean.
#pragma once

#include <map>
#include <vector>

#include "microtome/circuits/neurons/change.h"
#include "microtome/circuits/neurons/predictions.h"

namespace microtome {

// Adds the edits to the plan; must live as long as the plan is used.
class ChangePlan {
 public:
  // by_row[r]: the change of the pass's row r (null: none). Empty: nothing at all.
  ChangePlan(Plan& plan, std::vector<const NeuronChange*> by_row) : by_row_(std::move(by_row)) {
    std::map<int, bool> layers;  // with a value row that moves
    for (const NeuronChange* c : by_row_)
      for (size_t i = 0; c && i < c->neurons.size(); ++i) {
        bool& moves = layers[c->neurons[i].layer];
        moves = moves || c->op == NeuronOp::kRewrite;
      }
    for (const auto& [layer, moves] : layers) {
      plan.edit({.site = {SiteKind::kMlpPost, layer}, .op = EditOp::kCustom, .custom = [this](SiteValue& v) { scale(v); }});
      if (!moves) continue;
      plan.read({SiteKind::kMlpPost, layer}, [this](const SiteValue& v) { post_ = v.data; });
      plan.edit({.site = {SiteKind::kMlpOut, layer}, .op = EditOp::kCustom, .custom = [this](SiteValue& v) { move(v); }});
    }
  }
  ChangePlan(const ChangePlan&) = delete;
  ChangePlan& operator=(const ChangePlan&) = delete;

 private:
  template <class Fn>  // fn(row, change, number of the neuron in it)
  void each(const SiteValue& v, Fn&& fn) const {
    for (size_t r = 0; r < by_row_.size(); ++r)
      for (size_t i = 0; by_row_[r] && i < by_row_[r]->neurons.size(); ++i)
        if (by_row_[r]->neurons[i].layer == v.site.layer) fn(static_cast<int64_t>(r), *by_row_[r], i);
  }

  // An erased value row adds nothing, as if its neuron were 0.
  void scale(SiteValue& v) const {
    const int64_t m = v.data.row_size();
    each(v, [&](int64_t r, const NeuronChange& c, size_t i) {
      float& x = v.data.f32()[r * m + c.neurons[i].index];
      if (c.op == NeuronOp::kAmplify) x *= 2;
      else if (c.op != NeuronOp::kRewrite) x = 0;
    });
  }

  void move(SiteValue& v) {
    const int64_t d = v.data.row_size(), m = post_.row_size();
    each(v, [&](int64_t r, const NeuronChange& c, size_t i) {
      if (c.op != NeuronOp::kRewrite) return;
      const float x = std::as_const(post_).f32()[r * m + c.neurons[i].index];
      const float* delta = c.deltas.f32() + static_cast<int64_t>(i) * d;
      for (int64_t j = 0; j < d; ++j) v.data.f32()[r * d + j] += x * delta[j];
    });
    post_ = {};  // lies in the pass's arena
  }

  std::vector<const NeuronChange*> by_row_;
  Tensor post_;
};

// From the logits of a prompt's predicting rows, which begin at `row`; returns how many there are.
inline int64_t read_outcome(const OpContext& ctx, const Tensor& logits, int64_t row, const FactPrompt& p, FactOutcome& out) {
  const int64_t n = std::ssize(p.answer);
  const auto predictions = predict(ctx, logits.slice(row, row + n), p.answer);
  out = {.top = predictions[0].top, .right = true};
  for (int64_t k = 0; k < n; ++k) {
    out.answer += predictions[k].probability / static_cast<double>(n);
    out.right = out.right && predictions[k].top == p.answer[k];
  }
  if (!p.new_answer.empty())
    out.new_answer = predict(ctx, logits.slice(row, row + 1), std::span(p.new_answer).first(1))[0].probability;
  return n;
}

}  // namespace microtome
