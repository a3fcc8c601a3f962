// The tape itself: what is recorded, how gradients add up, what taps see, when memory goes.
#include "microtome/tape/tape.h"

#include <gtest/gtest.h>

#include "gradients.h"
#include "microtome/ops/rows.h"

namespace microtome {
namespace {

const OpContext& ctx = test_context();

Tensor values(std::vector<float> v) {
  const int64_t n = std::ssize(v);
  return Tensor::from(std::move(v), {n});
}

Value sum(Tape* tape, const Value& a, const Value& b, float factor = 1) { return call<Add>(tape, ctx, {factor}, a, b); }

TEST(Tape, records_only_what_lies_between_a_leaf_and_the_result) {
  Tape tape(ctx);
  const Value constant = values({1, 2});
  EXPECT_EQ(sum(&tape, constant, constant).node, -1);
  EXPECT_EQ(tape.size(), 0u);
  const Value leaf = tape.leaf(values({3, 4}));
  const Value y = sum(&tape, constant, leaf);
  EXPECT_EQ(tape.size(), 2u);
  EXPECT_EQ(y.data.f32()[1], 6);
  EXPECT_EQ(sum(nullptr, constant, leaf).node, -1);
}

TEST(Tape, a_value_used_several_times_gathers_all_its_gradients) {
  Tape tape(ctx);
  const Value x = tape.leaf(values({1, 2}));
  // y = x + 2x; z = y + 3y + 5x: dz/dx = 4 * 3 + 5.
  const Value y = sum(&tape, x, x, 2);
  const Value z = sum(&tape, sum(&tape, y, y, 3), x, 5);
  tape.backward(z, values({1, -1}));
  EXPECT_EQ(tape.gradient(x).f32()[0], 17);
  EXPECT_EQ(tape.gradient(x).f32()[1], -17);
}

TEST(Tape, shared_gradients_are_not_written_in_place) {
  Tape tape(ctx);
  const Value a = tape.leaf(values({1})), b = tape.leaf(values({1}));
  const Tensor seed = values({1});
  // Both sides of the last addition get the seed's handle; then b gets more.
  const Value z = sum(&tape, sum(&tape, a, b), b);
  tape.backward(z, seed);
  EXPECT_EQ(tape.gradient(a).f32()[0], 1);
  EXPECT_EQ(tape.gradient(b).f32()[0], 2);
  EXPECT_EQ(seed.f32()[0], 1);
}

TEST(Tape, can_be_run_again_with_another_gradient) {
  Tape tape(ctx);
  const Value x = tape.leaf(values({1, 2}));
  const Value y = sum(&tape, sum(&tape, x, x, 2), x);  // 4x
  for (const float seed : {1.0f, -3.0f}) {
    tape.backward_again(y, values({seed, 0}));
    EXPECT_EQ(tape.gradient(x).f32()[0], 4 * seed);
    EXPECT_EQ(tape.gradient(x).f32()[1], 0);
  }
}

TEST(Tape, taps_see_the_gradient_at_their_place_and_pass_it_on) {
  Tape tape(ctx);
  const Value x = tape.leaf(values({2}));
  float inner = 0, outer = 0, untouched = -1;
  Value y = tape.tap(sum(&tape, x, x), [&](const Tensor& dy) { inner = dy.f32()[0]; });
  EXPECT_EQ(y.data.f32()[0], 4);
  tape.tap(x, [&](const Tensor& dy) { untouched = dy.f32()[0]; });
  Value z = tape.tap(sum(&tape, y, y, 2), [&](const Tensor& dy) { outer = dy.f32()[0]; });
  tape.backward(z, values({10}));
  EXPECT_EQ(outer, 10);
  EXPECT_EQ(inner, 30);
  EXPECT_EQ(tape.gradient(x).f32()[0], 60);
  EXPECT_EQ(untouched, -1) << "nothing was computed from that tap";
}

TEST(Tape, a_tap_on_a_constant_makes_what_follows_recorded) {
  Tape tape(ctx);
  float seen = 0;
  const Value c = tape.tap(values({1}), [&](const Tensor& dy) { seen = dy.f32()[0]; });
  tape.backward(sum(&tape, c, c, 4), values({1}));
  EXPECT_EQ(seen, 5);
}

TEST(Tape, gradients_take_the_shape_of_the_value) {
  Tape tape(ctx);
  Shape seen;
  const Value x = tape.leaf(random_tensor({2, 3, 2}, 1));
  const Value tapped = tape.tap(x, [&](const Tensor& dy) { seen = dy.shape(); });
  // An addition's result has the first side's shape.
  const Value y = call<Add>(&tape, ctx, {1}, Value(random_tensor({2, 6}, 2)), tapped);
  tape.backward(y, random_tensor({12}, 3));
  EXPECT_EQ(seen, (Shape{2, 3, 2}));
}

TEST(Tape, leaves_that_nothing_reached_have_no_gradient) {
  Tape tape(ctx);
  const Value x = tape.leaf(values({1})), unused = tape.leaf(values({1}));
  const Value y = sum(&tape, x, x);
  const Value later = sum(&tape, y, unused);
  tape.backward(y, values({1}));
  EXPECT_FALSE(tape.gradient(unused).defined());
  EXPECT_FALSE(tape.gradient(Value(values({1}))).defined());
  EXPECT_TRUE(later.defined());
}

TEST(Tape, what_was_kept_is_dropped_as_backward_passes_it) {
  Tape tape(ctx);
  Value x = tape.leaf(values({1, 2}));
  Value y = call<Activate>(&tape, ctx, {Activation::kSilu}, x);
  EXPECT_FALSE(x.data.unique());
  bool dropped_before_inner = false;
  const Value inner = tape.tap(y, [](const Tensor&) {});
  const Value z = call<Activate>(&tape, ctx, {Activation::kSilu}, inner);
  const Value w = tape.tap(z, [&](const Tensor&) { dropped_before_inner = x.data.unique(); });
  tape.backward(w, values({1, 1}));
  EXPECT_FALSE(dropped_before_inner);
  EXPECT_TRUE(x.data.unique());
}

TEST(TapeDeathTest, backward_from_a_constant_is_a_mistake) {
  Tape tape(ctx);
  EXPECT_DEATH(tape.backward(Value(values({1})), values({1})), "check failed");
}

}  // namespace
}  // namespace microtome
