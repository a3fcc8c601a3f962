// Lens vectors: the rows that they are, and what adding, projecting out, swapping and decomposing do to a state.
#include "microtome/lens/lens_vectors.h"

#include <gtest/gtest.h>

#include <cmath>

#include "microtome/base/rng.h"
#include "planted_lens_model.h"

namespace microtome {
namespace {

Tensor random_vector(int64_t d, uint64_t seed) {
  const Philox rng(seed, "test vector");
  Tensor v = Tensor::empty({d});
  for (int64_t i = 0; i < d; ++i) v.f32()[i] = static_cast<float>(rng.normal(i));
  return v;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += static_cast<double>(a.f32()[i]) * b.f32()[i];
  return sum;
}

Tensor edited(const StreamEdit& e, const Tensor& h) {
  Tensor out = h.clone();
  apply_stream_edit(e, out.f32(), out.numel());
  return out;
}

// The planted model's lens: J = R.
FittedLens turning_lens() {
  FittedLens lens;
  lens.kind = LensKind::kJacobian;
  lens.d_model = 16;
  Tensor delta = Tensor::zeros({16, 16});
  for (int64_t j = 0; j < 16; ++j) {
    delta.f32()[j * 16 + j] -= 1;
    delta.f32()[(j + 1) % 16 * 16 + j] += 1;
  }
  lens.layers.push_back({delta, {}});
  return lens;
}

TEST(LensVectors, are_rows_of_the_unembedding_times_the_jacobian) {
  TempFolder folder;
  const auto model = turning_model(folder, 8);
  const FittedLens lens = turning_lens();
  for (int32_t t = 0; t < 16; ++t) {
    const Tensor v = lens_vector(*model, &lens, 0, t), plain = lens_vector(*model, nullptr, 0, t);
    for (int64_t i = 0; i < 16; ++i) {
      EXPECT_FLOAT_EQ(v.f32()[i], i == t ? 8 : 0) << "at block 0's output token t is e_t";
      EXPECT_FLOAT_EQ(plain.f32()[i], i == (t + 1) % 16 ? 8 : 0);
    }
  }
}

TEST(LensVectors, a_random_one_has_the_length_of_the_one_it_stands_for) {
  TempFolder folder;
  const auto model = turning_model(folder, 8);
  const Tensor a = random_vector_like(*model, nullptr, 0, 3, 1), b = random_vector_like(*model, nullptr, 0, 3, 2);
  const Tensor own = lens_vector(*model, nullptr, 0, 3);
  EXPECT_NEAR(dot(a, a), dot(own, own), 1e-3);
  EXPECT_NEAR(dot(a, own), 0, 1e-6) << "another token's";
  EXPECT_NE(dot(a, b), dot(a, a)) << "another seed draws another";
}

TEST(LensVectors, ablating_takes_out_the_vector_and_nothing_else) {
  const Tensor v = random_vector(16, 1), h = random_vector(16, 2), out = edited(ablate_edit(v), h);
  EXPECT_NEAR(dot(out, v), 0, 1e-5);
  const double part = dot(h, v) / dot(v, v);
  for (int64_t i = 0; i < 16; ++i) EXPECT_NEAR(out.f32()[i], h.f32()[i] - part * v.f32()[i], 1e-5);
  EXPECT_THROW(ablate_edit(Tensor::zeros({4})), Error);
}

TEST(LensVectors, a_swap_exchanges_the_coordinates_and_keeps_the_rest) {
  const Tensor a = random_vector(16, 1), b = random_vector(16, 2), rest = random_vector(16, 3);
  // rest without its part in the plane.
  Tensor out_of_plane = edited(ablate_edit(a), rest);
  const Tensor b_alone = edited(ablate_edit(a), b);
  out_of_plane = edited(ablate_edit(b_alone), out_of_plane);
  Tensor h = Tensor::empty({16}), expected = Tensor::empty({16});
  for (int64_t i = 0; i < 16; ++i) {
    h.f32()[i] = 2 * a.f32()[i] - 0.5f * b.f32()[i] + out_of_plane.f32()[i];
    expected.f32()[i] = 2 * b.f32()[i] - 0.5f * a.f32()[i] + out_of_plane.f32()[i];
  }
  const StreamEdit swap = swap_edit(a, b);
  const Tensor once = edited(swap, h), twice = edited(swap, once);
  for (int64_t i = 0; i < 16; ++i) {
    EXPECT_NEAR(once.f32()[i], expected.f32()[i], 1e-5);
    EXPECT_NEAR(twice.f32()[i], h.f32()[i], 1e-5);
  }
  EXPECT_THROW(swap_edit(a, a), Error);
}

TEST(LensVectors, a_swap_at_an_early_layer_changes_what_the_model_says) {
  TempFolder folder;
  const auto model = turning_model(folder, 8);
  const FittedLens lens = turning_lens();
  Batch batch;
  batch.add_sequence(std::vector<int32_t>(6, 3));
  const auto answer = [&](const FittedLens* through) {
    const StreamEdit swap = swap_edit(lens_vector(*model, through, 0, 3), lens_vector(*model, through, 0, 9));
    Plan plan;
    plan.edit({.site = {SiteKind::kResidPost, 0}, .op = EditOp::kCustom, .custom = [&](SiteValue& v) {
                 for (int64_t r = 0; r < v.data.size(0); ++r) apply_stream_edit(swap, v.data.f32() + r * 16, 16);
               }});
    const Tensor logits = forward(*model, {.batch = batch, .plan = &plan}).logits.data;
    return static_cast<int32_t>(std::max_element(logits.f32(), logits.f32() + 16) - logits.f32());
  };
  EXPECT_EQ(answer(&lens), 9);
  EXPECT_EQ(answer(nullptr), 3) << "the logit lens' vectors point elsewhere";
}

TEST(Decomposition, finds_the_few_vectors_that_a_state_was_made_of) {
  TempFolder folder;
  const auto model = turning_model(folder, 8);
  const FittedLens lens = turning_lens();
  const LensDictionary dictionary = lens_dictionary(*model, &lens, 0);
  Tensor h = Tensor::zeros({16});
  h.f32()[3] = 5;
  h.f32()[11] = 2;
  h.f32()[7] = -4;  // no non-negative sum holds it
  const Decomposition d = decompose(dictionary, h.f32(), 4);
  ASSERT_EQ(d.parts.size(), 2u);
  EXPECT_EQ(d.parts[0].token, 3);
  EXPECT_NEAR(d.parts[0].coefficient, 5, 1e-4);
  EXPECT_EQ(d.parts[1].token, 11);
  EXPECT_NEAR(d.parts[1].coefficient, 2, 1e-4);
  EXPECT_NEAR(d.explained, 29.0 / 45, 1e-5);
}

// Vectors that overlap: coefficients must be fitted together, and none may be negative.
TEST(Decomposition, fits_overlapping_vectors_together) {
  const auto model = Model::load(std::filesystem::path(MICROTOME_TEST_DATA) / "golden/models/llama_gqa_tied");
  const LensDictionary dictionary = lens_dictionary(*model, nullptr, 1);
  Tensor h = Tensor::zeros({32});
  const int32_t tokens[] = {5, 40, 77};
  for (int k = 0; k < 3; ++k) {
    const Tensor v = lens_vector(*model, nullptr, 1, tokens[k]);
    for (int64_t i = 0; i < 32; ++i) h.f32()[i] += static_cast<float>((3 - k) * v.f32()[i] / dictionary.length[tokens[k]]);
  }
  const Decomposition few = decompose(dictionary, h.f32(), 2), many = decompose(dictionary, h.f32(), 8);
  EXPECT_GT(many.explained, 0.98);
  EXPECT_GE(many.explained, few.explained);
  EXPECT_LE(few.parts.size(), 2u);
  ASSERT_GE(many.parts.size(), 3u);
  EXPECT_EQ(many.parts[0].token, 5);
  for (const auto& p : many.parts) EXPECT_GT(p.coefficient, 0);
}

}  // namespace
}  // namespace microtome
