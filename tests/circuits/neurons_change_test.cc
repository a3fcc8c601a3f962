// Changes of neurons: equal to what they stand for, and what they do to planted facts.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "microtome/circuits/neurons/change.h"
#include "neurons_model.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

NeuronsModel planted() {
  NeuronsModel m;
  for (int f = 0; f < NeuronsModel::kFacts; ++f) m.plant_fact(1, 5 + f, f, 1, f % 2 ? -1 : 1);
  return m;
}

FactOutcome outcome_of(const Model& model, const FactPrompt& prompt) { return ChangeBench(model, {prompt}, {}).unchanged()[0]; }

TEST(NeuronChange, suppressing_is_zero_at_the_predicting_positions) {
  for (const char* name : {"llama_gqa_tied", "gpt2", "neox_parallel"}) {
    const auto model = Model::load(fs::path(MICROTOME_TEST_DATA) / "golden/models" / name);
    const FactPrompt prompt{.ids = {5, 17, 3, 9}, .answer = {11, 12}, .new_answer = {4}};
    for (const NeuronOp op : {NeuronOp::kSuppress, NeuronOp::kAmplify}) {
      const NeuronChange change{.op = op, .neurons = {{1, 3}, {1, 7}, {0, 2}}, .deltas = {}};
      ChangeBench bench(*model, {{.ids = {1}, .answer = {2}}, prompt}, std::array{change.first_layer()});
      const FactOutcome got = bench.run(std::array{&change, &change}, std::array{0, 1})[1][1];
      Batch batch;
      batch.add_sequence(std::vector<int32_t>{5, 17, 3, 9, 11});
      Plan plan;
      plan.logit_rows = LogitRows::kChosen;
      plan.chosen_rows = {3, 4};
      for (const NeuronRef& n : change.neurons)
        plan.edit({.site = {SiteKind::kMlpPost, n.layer},
                   .where = {.pos = Range{3, 5}, .neuron = Range{n.index, n.index + 1}},
                   .op = EditOp::kScale,
                   .factor = op == NeuronOp::kSuppress ? 0.0f : 2.0f});
      const Tensor logits = forward(*model, {.batch = batch, .plan = &plan}).logits.data;
      double want = 0, sum = 0;
      for (const auto& [row, token] : {std::pair{0, 11}, std::pair{1, 12}}) {
        sum = 0;
        const float* x = logits.f32() + row * logits.size(1);
        for (int64_t i = 0; i < logits.size(1); ++i) sum += std::exp(x[i]);
        want += std::exp(x[token]) / sum / 2;
      }
      EXPECT_NEAR(got.answer, want, 1e-6 * want) << name;
      EXPECT_GT(std::abs(got.answer - bench.unchanged()[1].answer), 1e-4 * want) << name << ": it must do something";
    }
  }
}

TEST(NeuronChange, erasing_and_rewriting_equal_a_model_with_those_value_rows) {
  NeuronsModel m(3, 0.2f);
  const auto model = m.load();
  const std::vector<NeuronRef> neurons{{0, 4}, {1, 9}};
  const FactPrompt prompt{.ids = {5, 17, 3, 9}, .answer = {11}, .new_answer = {12}};
  const std::vector<int32_t> text{1, 5, 3, 9, 30, 2, 4};
  const NeuronChange erase{.op = NeuronOp::kErase, .neurons = neurons, .deltas = {}};
  const NeuronChange rewrite = rewrite_change(*model, neurons, std::array{1.0, -1.0}, 11, 12, 1, 2);
  for (const NeuronChange* change : {&erase, &rewrite}) {
    NeuronsModel other(3, 0.2f);
    for (size_t i = 0; i < neurons.size(); ++i)
      for (int j = 0; j < NeuronsModel::kWidth; ++j) {
        float& v = other.value(neurons[i].layer, neurons[i].index, j);
        v = change->op == NeuronOp::kErase ? 0 : v + change->deltas.f32()[static_cast<int64_t>(i) * NeuronsModel::kWidth + j];
      }
    const auto changed = other.load();
    ChangeBench bench(*model, {prompt, {.ids = {1, 2}, .answer = {3}}}, std::array{0});
    const FactOutcome got = bench.run(std::array{change}, std::array{0})[0][0], want = outcome_of(*changed, prompt);
    EXPECT_NEAR(got.answer, want.answer, 1e-6);
    EXPECT_NEAR(got.new_answer, want.new_answer, 1e-6);
    EXPECT_GT(std::abs(want.answer - bench.unchanged()[0].answer), 1e-4);
    const double loss = text_losses(*model, text, std::array{change})[0];
    EXPECT_NEAR(loss, text_losses(*changed, text, std::array<const NeuronChange*, 1>{nullptr})[0], 1e-5);
    EXPECT_GT(std::abs(loss - text_losses(*model, text, std::array<const NeuronChange*, 1>{nullptr})[0]), 1e-4);
  }
}

TEST(NeuronChange, value_rows_move_by_the_formula) {
  NeuronsModel m(3, 0.2f);
  const auto model = m.load();
  const std::array neurons{NeuronRef{1, 9}};
  const Tensor v = value_rows(*model, neurons);
  double square = 0, old_square = 0, new_square = 0;
  for (int j = 0; j < NeuronsModel::kWidth; ++j) {
    EXPECT_EQ(v.f32()[j], m.value(1, 9, j));
    square += std::pow(m.value(1, 9, j), 2);
    old_square += std::pow(m.at("lm_head.weight", 11, j), 2);
    new_square += std::pow(m.at("lm_head.weight", 12, j), 2);
  }
  const NeuronChange c = rewrite_change(*model, neurons, std::array{-0.5}, 11, 12);
  for (int j = 0; j < NeuronsModel::kWidth; ++j) {
    const double want = -std::sqrt(square) * (-m.at("lm_head.weight", 11, j) / std::sqrt(old_square) +
                                              8 * m.at("lm_head.weight", 12, j) / std::sqrt(new_square));
    EXPECT_NEAR(c.deltas.f32()[j], want, 1e-4);
  }
}

TEST(NeuronChange, suppression_kills_a_planted_fact_and_nothing_else) {
  const auto model = planted().load();
  std::vector<FactPrompt> prompts;
  for (int f = 0; f < NeuronsModel::kFacts; ++f) prompts.push_back(NeuronsModel::fact(f, "r").heldout[0]);
  for (const NeuronOp op : {NeuronOp::kSuppress, NeuronOp::kErase}) {
    const NeuronChange change{.op = op, .neurons = {{1, 5}}, .deltas = {}};
    std::vector<NeuronChange> random;
    for (int draw = 0; draw < 5; ++draw)
      random.push_back({.op = op, .neurons = random_neurons(change.neurons, NeuronsModel::kMlp, 0, "test", draw), .deltas = {}});
    ChangeBench bench(*model, prompts, std::array{1});
    const std::vector<int> all{0, 1, 2, 3, 4, 5, 6, 7};
    const auto after = bench.run(std::array<const NeuronChange*, 2>{&change, &random[0]}, all);
    EXPECT_GT(bench.unchanged()[0].answer, 0.8);
    EXPECT_LT(after[0][0].answer, 0.1);
    for (int f = 1; f < NeuronsModel::kFacts; ++f)
      EXPECT_NEAR(after[0][f].answer, bench.unchanged()[f].answer, 0.01 * bench.unchanged()[f].answer);
    for (const NeuronChange& r : random)
      if (r.neurons[0].index >= 5 + NeuronsModel::kFacts || r.neurons[0].index < 5) {
        const auto same = bench.run(std::array{&r}, std::array{0});
        EXPECT_NEAR(same[0][0].answer, bench.unchanged()[0].answer, 0.01);
      }
  }
}

TEST(NeuronChange, amplifying_raises_a_planted_fact) {
  NeuronsModel m;
  m.plant_fact(1, 5, 0, 0.1f);
  const auto model = m.load();
  const NeuronChange change{.op = NeuronOp::kAmplify, .neurons = {{1, 5}}, .deltas = {}};
  ChangeBench bench(*model, NeuronsModel::fact(0, "r").heldout, std::array{1});
  const auto after = bench.run(std::array{&change}, std::array{0, 1});
  for (int i = 0; i < 2; ++i) EXPECT_GT(after[0][i].answer, 1.2 * bench.unchanged()[i].answer);
}

TEST(NeuronChange, a_rewrite_flips_held_out_paraphrases_and_leaves_controls) {
  const auto model = planted().load();
  for (const int f : {0, 1}) {  // one fires positively, one negatively
    std::vector<FactPrompt> prompts = NeuronsModel::fact(f, "r", 4, 6).heldout;
    const size_t paraphrases = prompts.size();
    for (int other = 2; other < 6; ++other) prompts.push_back(NeuronsModel::fact(other, "r").prompts[0]);
    std::vector<int> all(prompts.size());
    std::iota(all.begin(), all.end(), 0);
    const std::array neurons{NeuronRef{1, 5 + f}};
    const NeuronChange change =
        rewrite_change(*model, neurons, std::array{f % 2 ? -6.0 : 6.0}, NeuronsModel::kAnswers + f, NeuronsModel::kAnswers + 6);
    ChangeBench bench(*model, prompts, std::array{1});
    const auto after = bench.run(std::array{&change}, all)[0];
    for (size_t i = 0; i < prompts.size(); ++i) {
      EXPECT_EQ(bench.unchanged()[i].top, prompts[i].answer[0]);
      EXPECT_EQ(after[i].top, i < paraphrases ? NeuronsModel::kAnswers + 6 : prompts[i].answer[0]) << i;
    }
  }
}

TEST(NeuronChange, random_neurons_are_as_many_in_each_layer_and_others) {
  const std::vector<NeuronRef> neurons{{0, 1}, {3, 2}, {3, 0}};
  std::set<std::vector<NeuronRef>> draws;
  for (int draw = 0; draw < 20; ++draw) {
    const auto r = random_neurons(neurons, 4, 1, "x", draw);
    ASSERT_EQ(r.size(), 3u);
    EXPECT_EQ(r, random_neurons(neurons, 4, 1, "x", draw));
    EXPECT_EQ(r[0].layer, 0);
    EXPECT_EQ(r[1].layer, 3);
    EXPECT_NE(r[1], r[2]);
    for (const NeuronRef& n : r) EXPECT_EQ(std::count(neurons.begin(), neurons.end(), n), 0);
    draws.insert(r);
  }
  EXPECT_GT(draws.size(), 2u);
  EXPECT_EQ(random_neurons(neurons, 3, 1, "x", 0).size(), 2u) << "layer 3 has one other neuron";
}

}  // namespace
}  // namespace microtome
