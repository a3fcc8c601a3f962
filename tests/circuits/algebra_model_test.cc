// The folded view against the model itself: QK reproduces the scores of a forward pass and A ⊗ OV the heads' outputs, on every
// family, with rotary positions, grouped heads and biases; what vocabularies hold is what the model computes.
#include <gtest/gtest.h>

#include "algebra_support.h"
#include "microtome/circuits/algebra/directions.h"
#include "microtome/circuits/algebra/induction.h"
#include "microtome/circuits/algebra/token_tables.h"
#include "microtome/model/capture.h"

namespace microtome::algebra {
namespace {

const std::vector<int32_t> kTokens{3, 14, 15, 9, 2, 6};

std::shared_ptr<const Model> golden(const std::string& name) {
  return Model::load(std::string(MICROTOME_TEST_DATA) + "/golden/models/" + name);
}

class EveryFamily : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, EveryFamily,
                         testing::Values("llama_gqa_tied", "llama3_scaled_bias", "gpt2", "neox_parallel", "neox_serial",
                                         "attn_only_ln", "attn_only_rotary", "attn_only_shortformer"),
                         [](const auto& info) { return std::string(info.param); });

struct Traced {
  Tensor input, scores, pattern, result;  // of one layer
};

Traced trace_layer(const Model& model, int layer) {
  const Config& c = model.config();
  Batch batch;
  batch.add_sequence(kTokens);
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  Capture capture(1);
  const Site input{c.norm == NormKind::kNone ? SiteKind::kResidPre : SiteKind::kLn1Normalized, layer};
  const Site scores{SiteKind::kAttnScores, layer}, pattern{SiteKind::kPattern, layer}, result{SiteKind::kResult, layer};
  for (const Site& s : {input, scores, pattern, result}) capture.read(plan, s);
  forward(model, {.batch = batch, .plan = &plan});
  return {capture.array(input), capture.array(scores), capture.array(pattern), capture.array(result)};
}

std::vector<HeadId> heads_of(const Config& c, int layer) {
  std::vector<HeadId> out;
  for (int h = 0; h < c.n_heads; ++h) out.push_back({layer, h});
  return out;
}

// Shortformer models, whose queries and keys read positions beside the stream, have no such circuit.
class EveryQkFamily : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, EveryQkFamily,
                         testing::Values("llama_gqa_tied", "llama3_scaled_bias", "gpt2", "neox_parallel", "neox_serial",
                                         "attn_only_ln", "attn_only_rotary"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(EveryQkFamily, qk_reproduces_the_scores_of_a_forward_pass) {
  const auto model = golden(GetParam());
  const Config& c = model->config();
  const int64_t t = std::ssize(kTokens), d = c.d_model;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const Traced traced = trace_layer(*model, layer);
    const std::vector<HeadId> ids = heads_of(c, layer);
    for (int64_t offset = 0; offset < t; ++offset) {
      const auto heads = read_heads(*model, ids, c.positions == PositionKind::kRotary ? offset : 0);
      for (int64_t i = offset; i < t; ++i) {
        MatrixF64 query(1, d + 1), key(1, d + 1);
        for (int64_t j = 0; j < d; ++j)
          query(0, j) = traced.input.f32()[i * d + j], key(0, j) = traced.input.f32()[(i - offset) * d + j];
        query(0, d) = key(0, d) = 1;
        for (int64_t h = 0; h < c.n_heads; ++h) {
          const Factored qk = heads[h].qk_with_bias();
          const double score = matmul_nt(matmul(matmul(query, qk.a), qk.b), key)(0, 0) * heads[h].scale;
          const double actual = traced.scores.f32()[(h * t + i) * t + i - offset];
          EXPECT_NEAR(score, actual, 1e-5 * std::max(1.0, std::abs(actual))) << layer << "." << h << " offset " << offset;
        }
      }
    }
  }
}

TEST_P(EveryFamily, attention_times_ov_reproduces_what_heads_write) {
  const auto model = golden(GetParam());
  const Config& c = model->config();
  const int64_t t = std::ssize(kTokens), d = c.d_model;
  for (int layer = 0; layer < c.n_layers; ++layer) {
    const Traced traced = trace_layer(*model, layer);
    const auto heads = read_heads(*model, heads_of(c, layer));
    const MatrixF64 x = MatrixF64::from(traced.input.f32(), t, d);
    for (int64_t h = 0; h < c.n_heads; ++h) {
      MatrixF64 values = matmul(x, heads[h].ov().a);
      for (int64_t i = 0; i < t; ++i)
        for (int64_t j = 0; j < c.d_head; ++j) values(i, j) += heads[h].b_v[j];
      const MatrixF64 written = matmul(matmul(MatrixF64::from(traced.pattern.f32() + h * t * t, t, t), values), heads[h].ov().b);
      for (int64_t i = 0; i < t; ++i) {
        std::vector<float> actual(traced.result.f32() + (i * c.n_heads + h) * d,
                                  traced.result.f32() + (i * c.n_heads + h + 1) * d);
        if (centred_view(c)) centre_rows(actual.data(), 1, d);
        for (int64_t j = 0; j < d; ++j)
          EXPECT_NEAR(written(i, j), actual[j], 1e-5 * std::max(1.0f, std::abs(actual[j]))) << layer << "." << h;
      }
    }
  }
}

// The Gram matrices and products agree with rows that are folded by hand.
TEST_P(EveryFamily, vocabulary_products_and_grams_agree_with_the_folded_matrices) {
  const auto model = golden(GetParam());
  const Config& c = model->config();
  const Vocabulary vocabulary(*model, EmbeddingKind::kToken);
  const int64_t v = c.vocab, d = c.d_model;
  std::vector<float> rows(static_cast<size_t>(v * d));
  vocabulary.embed_rows(0, v, rows.data());
  const MatrixF64 e = MatrixF64::from(rows.data(), v, d);
  const MatrixF64 unit = MatrixF64::identity(d);
  const std::vector<float> unit_rows(unit.data.begin(), unit.data.end());
  const MatrixF64 u = MatrixF64::from(vocabulary.unembed_product(unit_rows.data(), d).f32(), d, v);
  const MatrixF64 product = MatrixF64::from(vocabulary.embed_product(unit_rows.data(), d).f32(), v, d);
  EXPECT_LT(largest_difference(product, e), 1e-6);
  const MatrixF64 copying = vocabulary.gram_copying(), matching = vocabulary.gram_matching();
  EXPECT_LT(largest_difference(copying, matmul(u, e)), 1e-5 * std::max(1.0, frobenius_norm(copying)));
  const MatrixF64 square = matmul_tn(e, e);
  for (int64_t i = 0; i < d; ++i)
    for (int64_t j = 0; j < d; ++j) EXPECT_NEAR(matching(i, j), square(i, j), 1e-5 * std::max(1.0, frobenius_norm(square)));
  EXPECT_EQ(matching(d, d), static_cast<double>(v));
}

// A stream whose norm is 1 and mean 0 passes the final norm as it is: its logits are the folded ones, but for a constant.
TEST_P(EveryFamily, folded_unembedding_gives_the_log_probabilities_of_the_model) {
  const auto model = golden(GetParam());
  const Config& c = model->config();
  const int64_t d = c.d_model, v = c.vocab;
  std::vector<float> x = gaussians(d, 1, 0);
  centre_rows(x.data(), 1, d);
  double square = 0;
  for (const float y : x) square += static_cast<double>(y) * y;
  for (float& y : x) y = static_cast<float>(y / std::sqrt(square / static_cast<double>(d)));
  const Vocabulary vocabulary(*model, EmbeddingKind::kToken);
  const Tensor folded = vocabulary.zero_layer_logits(x.data(), 1), actual = unembed(*model, Tensor::from(x, {1, d}));
  const auto log_softmax = [&](const Tensor& logits) {
    double most = -INFINITY, sum = 0;
    for (int64_t t = 0; t < v; ++t) most = std::max(most, static_cast<double>(logits.f32()[t]));
    for (int64_t t = 0; t < v; ++t) sum += std::exp(logits.f32()[t] - most);
    std::vector<double> out;
    for (int64_t t = 0; t < v; ++t) out.push_back(logits.f32()[t] - most - std::log(sum));
    return out;
  };
  const auto a = log_softmax(folded), b = log_softmax(actual);
  for (int64_t t = 0; t < v; ++t) EXPECT_NEAR(a[t], b[t], 2e-3 * std::max(1.0, std::abs(b[t])));  // eps beside a scale of 1
}

TEST(EffectiveEmbedding, is_the_first_blocks_output_for_the_token_alone) {
  const auto model = golden("llama_gqa_tied");
  const int64_t d = model->config().d_model;
  const Vocabulary vocabulary(*model, EmbeddingKind::kEffective), mlp(*model, EmbeddingKind::kMlp0Only);
  std::vector<float> row(static_cast<size_t>(d));
  for (const int32_t token : {0, 17, 95}) {
    Batch batch;
    batch.add_sequence(std::vector<int32_t>{token});
    Plan plan;
    plan.stop_after_layer = 0;
    vocabulary.embed_rows(token, token + 1, row.data());
    const Forward f = forward(*model, {.batch = batch, .plan = &plan});
    for (int64_t j = 0; j < d; ++j) EXPECT_NEAR(row[j], f.residual.data.f32()[j], 1e-5);
    Plan without;
    without.stop_after_layer = 0;
    without.edit({.site = {SiteKind::kAttnOut, 0}, .op = EditOp::kZero});
    Capture capture(1);
    capture.read(without, {SiteKind::kMlpOut, 0});
    forward(*model, {.batch = batch, .plan = &without});
    mlp.embed_rows(token, token + 1, row.data());
    for (int64_t j = 0; j < d; ++j) EXPECT_NEAR(row[j], capture.array({SiteKind::kMlpOut, 0}).f32()[j], 1e-5);
  }
}

TEST(StreamLinks, are_the_cosines_of_writers_and_later_readers) {
  const auto model = golden("llama_gqa_tied");
  const auto links = stream_links(*model, {}, {});
  const int64_t d = model->config().d_model, m = model->config().d_mlp;
  int checked = 0;
  for (const StreamLink& l : links) {
    EXPECT_LE(l.from_layer, l.to_layer);
    if (l.writer != "w_out" || l.reader != "w_gate" || l.from_layer != 0 || l.to_layer != 2) continue;
    const MlpWeights from = read_mlp(*model, 0), to = read_mlp(*model, 2);
    double squares = 0, extreme = 0;
    for (int64_t a = 0; a < m; ++a)
      for (int64_t b = 0; b < m; ++b) {
        double dot = 0, x = 0, y = 0;
        for (int64_t i = 0; i < d; ++i) {
          const double p = from.w_out[a * d + i], q = to.w_gate[i * m + b];
          dot += p * q, x += p * p, y += q * q;
        }
        const double cosine = dot / std::sqrt(x * y);
        squares += cosine * cosine;
        if (std::abs(cosine) > std::abs(extreme)) extreme = cosine;
      }
    EXPECT_NEAR(l.rms, std::sqrt(squares / static_cast<double>(m * m)), 1e-6);
    EXPECT_NEAR(l.extreme, extreme, 1e-6);
    ++checked;
  }
  EXPECT_EQ(checked, 1);
}

TEST(HeadWeightsOfModel, refuse_heads_and_offsets_that_are_not_there) {
  const auto rotary = golden("llama_gqa_tied"), learned = golden("gpt2");
  const HeadId beyond[] = {{0, 99}};
  EXPECT_THROW(read_heads(*rotary, beyond), Error);
  EXPECT_THROW(read_heads(*rotary, {}, -1), Error);
  EXPECT_THROW(read_heads(*learned, {}, 1), Error);
  EXPECT_THROW(read_mlp(*golden("attn_only_ln"), 0), Error);
  EXPECT_THROW(Vocabulary(*golden("attn_only_ln"), EmbeddingKind::kMlp0Only), Error);
}

}  // namespace
}  // namespace microtome::algebra
