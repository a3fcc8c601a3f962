// Every operation, called through the tape: gradients against finite differences, shapes, and what the tape keeps.
#include <gtest/gtest.h>

#include <memory>

#include "gradients.h"
#include "microtome/ops/linear.h"
#include "microtome/ops/rows.h"

namespace microtome {
namespace {

const OpContext& ctx = test_context();

// A plain [K, N] tensor as a weight: packed anew for each value, its gradient reaching the tensor's place on the tape.
class Weights {
 public:
  PackedView pack(const Tensor& w) {
    const int64_t k = w.size(0), n = w.size(1);
    packed_.push_back(Tensor::empty({packed_bytes(PackedFormat::kF32, k, n)}, Arena::global(), DType::kU8));
    std::byte* data = reinterpret_cast<std::byte*>(packed_.back().u8());
    pack_plain(PackedFormat::kF32, w.f32(), k, n, n, 1, data);
    return {PackedFormat::kF32, k, n, data};
  }
  static Value place(const Value& w) { return {Tensor(), w.node}; }

 private:
  std::vector<Tensor> packed_;
};

template <class Op>
TensorFunction linear_function(const std::shared_ptr<Weights>& weights) {
  return [weights](Tape* tape, const std::vector<Value>& in) {
    const typename Op::Params params{weights->pack(in[1].data)};
    if constexpr (Op::kInputs == 3) {
      return call<Op>(tape, ctx, params, in[0], Weights::place(in[1]), in.size() > 2 ? in[2] : Value());
    } else {
      return call<Op>(tape, ctx, params, in[0], Weights::place(in[1]));
    }
  };
}

template <class Op>
TensorFunction row_function(typename Op::Params params) {
  return [params](Tape* tape, const std::vector<Value>& in) {
    const auto at = [&](size_t i) { return i < in.size() ? in[i] : Value(); };
    if constexpr (Op::kInputs == 1) return call<Op>(tape, ctx, params, at(0));
    else if constexpr (Op::kInputs == 2) return call<Op>(tape, ctx, params, at(0), at(1));
    else return call<Op>(tape, ctx, params, at(0), at(1), at(2));
  };
}

TEST(LinearOps, gradients_match_finite_differences) {
  const auto weights = std::make_shared<Weights>();
  expect_gradients(linear_function<Linear>(weights), {random_tensor({3, 5}, 1), random_tensor({5, 4}, 2), random_tensor({4}, 3)});
  expect_gradients(linear_function<Linear>(weights), {random_tensor({1, 2}, 4), random_tensor({2, 70}, 5)});
  expect_gradients(linear_function<InputPerHeadLinear>(weights),
                   {random_tensor({3, 2, 4}, 6), random_tensor({4, 6}, 7), random_tensor({6}, 8)});
  expect_gradients(linear_function<OutputPerHeadLinear>(weights), {random_tensor({3, 2, 3}, 9), random_tensor({6, 4}, 10)});
}

TEST(LinearOps, heads_with_one_input_have_the_bits_of_the_whole_product) {
  Weights weights;
  const Tensor x = random_tensor({5, 7}, 11), w = random_tensor({7, 12}, 12), b = random_tensor({12}, 13);
  const PackedView view = weights.pack(w);
  const Tensor whole = call<Linear>(nullptr, ctx, {view}, Value(x), Value(), Value(b)).data;
  const Value repeated = call<RepeatHeads>(nullptr, ctx, {3}, Value(x));
  const Tensor split = call<InputPerHeadLinear>(nullptr, ctx, {view}, repeated, Value(), Value(b)).data;
  EXPECT_EQ(split.shape(), (Shape{5, 3, 4}));
  EXPECT_TRUE(same_bits(split, whole));
}

TEST(LinearOps, what_heads_write_sums_to_the_whole_product) {
  Weights weights;
  const Tensor z = random_tensor({4, 3, 5}, 14), w = random_tensor({15, 6}, 15);
  const PackedView view = weights.pack(w);
  const Tensor whole = call<Linear>(nullptr, ctx, {view}, Value(z.view({4, 15})), Value(), Value()).data;
  const Tensor sum = call<SumHeads>(nullptr, ctx, {3}, call<OutputPerHeadLinear>(nullptr, ctx, {view}, Value(z), Value())).data;
  for (int64_t i = 0; i < whole.numel(); ++i) EXPECT_NEAR(sum.f32()[i], whole.f32()[i], 1e-5);
}

TEST(EmbeddingOp, rows_are_columns_of_the_matrix_and_repeated_tokens_add_up) {
  const auto weights = std::make_shared<Weights>();
  const Tensor w = random_tensor({3, 6}, 16);
  const std::vector<int32_t> tokens = {4, 0, 4, 5};
  const TensorFunction fn = [&](Tape* tape, const std::vector<Value>& in) {
    return call<Embedding>(tape, ctx, {weights->pack(in[0].data), tokens}, Weights::place(in[0]));
  };
  const Tensor rows = fn(nullptr, {Value(w)}).data;
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t k = 0; k < 3; ++k) EXPECT_EQ(rows.f32()[r * 3 + k], w.f32()[k * 6 + tokens[r]]);
  expect_gradients(fn, {w});
}

TEST(NormOps, gradients_match_finite_differences) {
  const Tensor x = random_tensor({3, 6}, 17), gamma = random_tensor({6}, 18), beta = random_tensor({6}, 19);
  for (const bool center : {false, true}) {
    const Norm::Params p{center, 1e-3f};
    expect_gradients(row_function<Norm>(p), {x, gamma, beta});
    expect_gradients(row_function<Norm>(p), {x, gamma});
    expect_gradients(row_function<Norm>(p), {x});
    expect_gradients(row_function<NormScale>(p), {x});
    Tensor scale = random_tensor({3, 1}, 20);
    for (int i = 0; i < 3; ++i) scale.f32()[i] = 1 + std::abs(scale.f32()[i]);
    expect_gradients(row_function<NormNormalize>(p), {x, scale});
  }
  expect_gradients(row_function<NormAffine>({}), {x, gamma, beta});
  expect_gradients(row_function<NormAffine>({}), {x, gamma});
}

TEST(NormOps, the_three_parts_composed_have_the_bits_of_the_whole) {
  const Value x = random_tensor({5, 33}, 21), gamma = random_tensor({33}, 22), beta = random_tensor({33}, 23);
  for (const bool center : {false, true}) {
    const Norm::Params p{center, 1e-5f};
    const Tensor whole = call<Norm>(nullptr, ctx, p, x, gamma, beta).data;
    const Value scale = call<NormScale>(nullptr, ctx, p, x);
    EXPECT_EQ(scale.data.shape(), (Shape{5, 1}));
    const Value normalized = call<NormNormalize>(nullptr, ctx, p, x, scale);
    EXPECT_TRUE(same_bits(call<NormAffine>(nullptr, ctx, {}, normalized, gamma, beta).data, whole)) << center;
  }
}

TEST(RopeOp, gradients_match_finite_differences_and_lengths_are_kept) {
  for (const bool adjacent : {false, true}) {
    RopeTable table;
    table.rotary = 4;
    table.adjacent = adjacent;
    table.cos = Tensor::empty({8, 2});
    table.sin = Tensor::empty({8, 2});
    for (int64_t i = 0; i < 16; ++i) {
      const double angle = static_cast<double>(i / 2) * (i % 2 ? 0.1 : 1.0);
      table.cos.f32()[i] = static_cast<float>(std::cos(angle));
      table.sin.f32()[i] = static_cast<float>(std::sin(angle));
    }
    const Rope::Params p{std::make_shared<const RopeTable>(table),
                         std::make_shared<const std::vector<int32_t>>(std::vector<int32_t>{0, 7, 3})};
    const Tensor x = random_tensor({3, 2, 6}, 24);
    expect_gradients(row_function<Rope>(p), {x});
    const Tensor y = call<Rope>(nullptr, ctx, p, Value(x)).data;
    EXPECT_FALSE(same_bits(y, x));
    for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(y.f32()[i], x.f32()[i]) << "position 0 is not turned";
    for (int64_t row = 0; row < 6; ++row) {
      double before = 0, after = 0;
      for (int64_t i = 0; i < 6; ++i)
        before += x.f32()[row * 6 + i] * x.f32()[row * 6 + i], after += y.f32()[row * 6 + i] * y.f32()[row * 6 + i];
      EXPECT_NEAR(before, after, 1e-5);
      for (int64_t i = 4; i < 6; ++i) EXPECT_EQ(y.f32()[row * 6 + i], x.f32()[row * 6 + i]) << "beyond the rotary part";
    }
  }
}

TEST(MapOps, gradients_match_finite_differences) {
  // ReLU's corner is avoided: no value lies within a step of 0.
  Tensor x = random_tensor({4, 5}, 25);
  for (int64_t i = 0; i < x.numel(); ++i) x.f32()[i] += x.f32()[i] < 0 ? -0.05f : 0.05f;
  const Tensor up = random_tensor({4, 5}, 26);
  for (const Activation kind : {Activation::kGelu, Activation::kGeluTanh, Activation::kSilu, Activation::kRelu}) {
    expect_gradients(row_function<Activate>({kind}), {x});
    expect_gradients(row_function<GatedActivate>({kind}), {x, up});
  }
  expect_gradients(row_function<Add>({1}), {x, up});
  expect_gradients(row_function<Add>({-0.5f}), {x, up});
}

TEST(SelectionOps, gradients_match_finite_differences) {
  expect_gradients(row_function<GatherRows>({{2, 0, 2, 1}, 4}), {random_tensor({4, 3}, 27)});
  expect_gradients(row_function<RepeatHeads>({3}), {random_tensor({2, 4}, 28)});
  expect_gradients(row_function<SumHeads>({3}), {random_tensor({2, 3, 4}, 29)});
  expect_gradients(row_function<EveryNthHead>({6, 2}), {random_tensor({2, 6, 3}, 30)});
}

TEST(SelectionOps, values_are_the_ones_chosen) {
  const Tensor x = random_tensor({3, 4, 2}, 31);
  const Tensor rows = call<GatherRows>(nullptr, ctx, {{2, 2, 0}, 3}, Value(x)).data;
  EXPECT_TRUE(same_bits(rows.slice(0, 1), x.slice(2, 3)) && same_bits(rows.slice(1, 2), x.slice(2, 3)) &&
              same_bits(rows.slice(2, 3), x.slice(0, 1)));
  const Tensor heads = call<EveryNthHead>(nullptr, ctx, {4, 2}, Value(x)).data;
  EXPECT_EQ(heads.shape(), (Shape{3, 2, 2}));
  EXPECT_EQ(heads.f32()[2], x.f32()[4]);
  EXPECT_EQ(call<GatherRows>(nullptr, ctx, {{}, 3}, Value(x)).data.numel(), 0);
}

// The tape holds on to an input exactly where backward reads it: else ours is the only handle left.
TEST(Kept, only_inputs_that_backward_reads) {
  Tape tape(ctx);
  const auto held = [](const Value& v) { return !v.data.unique(); };
  Weights weights;
  const Tensor w = random_tensor({4, 4}, 32);
  const PackedView view = weights.pack(w);
  const Value x = tape.leaf(random_tensor({3, 4}, 33)), other = tape.leaf(random_tensor({3, 4}, 34));
  const Value bias = tape.leaf(random_tensor({4}, 35)), no_weight_gradient;

  std::vector<Value> results = {
      call<Add>(&tape, ctx, {2}, x, other), call<Linear>(&tape, ctx, {view}, x, no_weight_gradient, bias),
      call<GatherRows>(&tape, ctx, {{1}, 3}, x), call<NormAffine>(&tape, ctx, {}, other, Value(), bias)};
  EXPECT_FALSE(held(x));
  EXPECT_FALSE(held(bias));
  EXPECT_TRUE(held(other)) << "a norm's gain could want it";

  results.push_back(call<Linear>(&tape, ctx, {view}, x, tape.leaf(Tensor()), bias));
  EXPECT_TRUE(held(x)) << "the weights' gradient needs it";
  const Value z = tape.leaf(random_tensor({3, 4}, 36));
  results.push_back(call<Activate>(&tape, ctx, {Activation::kSilu}, z));
  EXPECT_TRUE(held(z));
  EXPECT_FALSE(held(results.back())) << "an activation's result is not kept";
}

}  // namespace
}  // namespace microtome
