// Attention on the tape: fused and staged agree, gradients match finite differences, invisible keys have none.
#include "microtome/tape/attention.h"

#include <gtest/gtest.h>

#include "gradients.h"

namespace microtome {
namespace {

const OpContext& ctx = test_context();
constexpr int64_t kHeads = 4, kKvHeads = 2, kD = 5, kDv = 3;

// Rows [begin, end) of a pass behind `old` keys that are constants; blocks are filled from the pass's k and v.
class Blocks {
 public:
  SequenceRows sequence(const Tensor& k, const Tensor& v, int32_t begin, int32_t end, int32_t old, int32_t window) {
    SequenceRows s;
    s.row_begin = begin;
    s.row_end = end;
    s.n_slots = old + end - begin;
    for (int32_t i = 0; i < end - begin; ++i) {
      s.own_slot.push_back(old + i);
      s.begin.push_back(std::max(0, old + i + 1 - window));
      s.end.push_back(old + i + 1);
    }
    for (int64_t h = 0; h < kKvHeads; ++h) {
      HeadKeys keys;
      for (int64_t b = 0; b * kKeyBlock < s.n_slots; ++b) {
        held_.push_back(random_tensor({kKeyBlock, kD}, 1000 + 10 * b + h));
        keys.k.push_back(fill(held_.back(), k, s, h, b, kD));
        held_.push_back(random_tensor({kKeyBlock, kDv}, 2000 + 10 * b + h));
        keys.v.push_back(fill(held_.back(), v, s, h, b, kDv));
      }
      s.heads.push_back(std::move(keys));
    }
    return s;
  }

 private:
  static const float* fill(Tensor& block, const Tensor& rows, const SequenceRows& s, int64_t head, int64_t b, int64_t width) {
    for (int64_t i = 0; i < s.rows(); ++i)
      if (s.own_slot[i] / kKeyBlock == b)
        std::copy_n(rows.f32() + ((s.row_begin + i) * kKvHeads + head) * width, width,
                    block.f32() + s.own_slot[i] % kKeyBlock * width);
    return block.f32();
  }
  std::vector<Tensor> held_;
};

// Two sequences: one from the start, one behind a cache that ends within its second block.
AttentionLayoutPtr two_sequences(Blocks& blocks, const Tensor& k, const Tensor& v, int32_t window = 1000, float softcap = 0) {
  auto layout = std::make_shared<AttentionLayout>();
  layout->n_heads = kHeads;
  layout->n_kv_heads = kKvHeads;
  layout->shape = {kD, kDv, 0.6f, softcap};
  layout->sequences.push_back(blocks.sequence(k, v, 0, 3, 0, window));
  layout->sequences.push_back(blocks.sequence(k, v, 3, 5, 63, window));
  return layout;
}

Value staged(Tape* tape, const AttentionLayoutPtr& layout, const Value& q, const Value& k, const Value& v) {
  std::vector<Value> patterns;
  for (int s = 0; s < std::ssize(layout->sequences); ++s)
    patterns.push_back(attention_pattern(tape, ctx, layout, s, attention_scores(tape, ctx, layout, s, q, k)));
  return attention_apply(tape, ctx, layout, patterns, v);
}

class AttentionTape : public testing::Test {
 protected:
  Tensor q = random_tensor({5, kHeads, kD}, 1), k = random_tensor({5, kKvHeads, kD}, 2), v = random_tensor({5, kKvHeads, kDv}, 3);
  Blocks blocks;
};

TEST_F(AttentionTape, fused_gradients_match_finite_differences) {
  for (const float softcap : {0.0f, 2.0f}) {
    expect_gradients(
        [&](Tape* tape, const std::vector<Value>& in) {
          return fused_attention(tape, ctx, two_sequences(blocks, in[1].data, in[2].data, 1000, softcap), in[0], in[1], in[2]);
        },
        {q, k, v});
  }
}

TEST_F(AttentionTape, staged_gradients_match_finite_differences) {
  expect_gradients(
      [&](Tape* tape, const std::vector<Value>& in) {
        return staged(tape, two_sequences(blocks, in[1].data, in[2].data, 2), in[0], in[1], in[2]);
      },
      {q, k, v});
}

TEST_F(AttentionTape, stages_have_the_bits_of_the_fused_pass) {
  for (const int32_t window : {1000, 2}) {
    const auto layout = two_sequences(blocks, k, v, window);
    EXPECT_TRUE(same_bits(fused_attention(nullptr, ctx, layout, q, k, v).data, staged(nullptr, layout, q, k, v).data)) << window;
  }
}

TEST_F(AttentionTape, patterns_sum_to_one_over_what_a_row_sees_and_are_zero_elsewhere) {
  const auto layout = two_sequences(blocks, k, v, 2);
  for (int s = 0; s < 2; ++s) {
    const SequenceRows& rows = layout->sequences[s];
    const Tensor pattern = attention_pattern(nullptr, ctx, layout, s, attention_scores(nullptr, ctx, layout, s, q, k)).data;
    ASSERT_EQ(pattern.shape(), (Shape{kHeads, rows.rows(), rows.n_slots}));
    for (int64_t h = 0; h < kHeads; ++h)
      for (int64_t i = 0; i < rows.rows(); ++i) {
        double total = 0;
        for (int64_t j = 0; j < rows.n_slots; ++j) {
          const float p = pattern.f32()[(h * rows.rows() + i) * rows.n_slots + j];
          total += p;
          EXPECT_EQ(p > 0, j >= rows.begin[i] && j < rows.end[i]) << h << " " << i << " " << j;
        }
        EXPECT_NEAR(total, 1, 1e-6);
      }
  }
}

TEST_F(AttentionTape, rows_with_slots_of_their_own_see_those_and_refuse_patterns) {
  auto layout = std::make_shared<AttentionLayout>(*two_sequences(blocks, k, v));
  // The last row of the first sequence sees its slots 0 and 2 only.
  SequenceRows& s = layout->sequences[0];
  s.slots = {{}, {}, {0, 2}};
  s.end[2] = 2;
  const auto fn = [&](Tape* tape, const std::vector<Value>& in) {
    return fused_attention(tape, ctx, layout, in[0], in[1], in[2]);
  };
  Tensor seed = Tensor::zeros({5, kHeads, kDv});
  std::fill_n(seed.f32() + 2 * kHeads * kDv, kHeads * kDv, 1.0f);
  const std::vector<Tensor> only_last = gradients_of(fn, {q, k, v}, seed);
  for (int64_t row = 0; row < 5; ++row) {
    const Tensor dv = only_last[2].slice(row, row + 1);
    bool any = false;
    for (int64_t i = 0; i < dv.numel(); ++i) any = any || dv.f32()[i] != 0;
    EXPECT_EQ(any, row == 0 || row == 2) << row;
  }
  EXPECT_THROW(attention_scores(nullptr, ctx, layout, 0, q, k), Error);
}

}  // namespace
}  // namespace microtome
