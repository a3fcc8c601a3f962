// Integrated gradients on MLP activations: their definition, completeness, and planted facts.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/neurons/refine.h"
#include "neurons_model.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

std::shared_ptr<const Model> golden(const std::string& name) {
  return Model::load(fs::path(MICROTOME_TEST_DATA) / "golden/models" / name);
}

double softmax_at(const float* x, int64_t n, int32_t target) {
  const double top = *std::max_element(x, x + n);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  return std::exp(x[target] - top) / sum;
}

// The definition: for each node a pass of the whole prompt with the layer scaled at the predicting position, and the gradient
// that the model's own tape gives there.
std::vector<double> by_definition(const Model& model, const FactPrompt& p, int layer, const Quadrature& rule) {
  const int64_t m = model.config().d_mlp, vocab = model.config().vocab;
  std::vector<double> attr(m, 0.0);
  for (size_t t = 0; t < p.answer.size(); ++t) {
    std::vector<int32_t> ids = p.ids;
    ids.insert(ids.end(), p.answer.begin(), p.answer.begin() + static_cast<int64_t>(t));
    const int64_t last = std::ssize(ids) - 1;
    Batch batch;
    batch.add_sequence(ids);
    std::vector<float> w, g;
    const auto last_row = [&](const SiteValue& v) {
      const float* x = v.data.f32() + last * m;
      return std::vector<float>(x, x + m);
    };
    Plan unchanged;
    unchanged.read({SiteKind::kMlpPost, layer}, [&](const SiteValue& v) { w = last_row(v); });
    forward(model, {.batch = batch, .plan = &unchanged});
    for (size_t k = 0; k < rule.nodes.size(); ++k) {
      Plan plan;
      plan.edit({.site = {SiteKind::kMlpPost, layer},
                 .where = {.pos = Range{last, last + 1}},
                 .op = EditOp::kScale,
                 .factor = static_cast<float>(rule.nodes[k])});
      plan.gradient({SiteKind::kMlpPost, layer}, [&](const SiteValue& v) { g = last_row(v); });
      Tape tape(model.context());
      const ParameterLeaves leaves(model, tape);  // so that the layers below are on the tape, too
      const Forward f = forward(model, {.batch = batch, .plan = &plan, .tape = &tape, .parameters = &leaves});
      const double probability = softmax_at(f.logits.data.f32(), vocab, p.answer[t]);
      Tensor seed = Tensor::empty({1, vocab});
      for (int32_t i = 0; i < vocab; ++i)
        seed.f32()[i] = static_cast<float>(probability * ((i == p.answer[t]) - softmax_at(f.logits.data.f32(), vocab, i)));
      tape.backward(f.logits, seed);
      for (int64_t i = 0; i < m; ++i) attr[i] += rule.weights[k] * w[i] * g[i] / static_cast<double>(p.answer.size());
    }
  }
  return attr;
}

TEST(NeuronAttribution, equals_its_definition_in_every_family) {
  for (const char* name : {"llama_gqa_tied", "gpt2", "neox_parallel", "neox_serial"}) {
    const auto model = golden(name);
    const std::vector<FactPrompt> prompts{{.ids = {5, 17, 3, 9}, .answer = {11}}, {.ids = {2, 4}, .answer = {7, 1, 30}}};
    const auto got = attribute_neurons(*model, prompts, {.steps = 4, .most_steps = 4});
    for (int l = 0; l < model->config().n_layers; ++l)
      for (size_t i = 0; i < prompts.size(); ++i) {
        const auto want = by_definition(*model, prompts[i], l, quadrature(QuadratureRule::kGauss, 4));
        double largest = 0, worst = 0;
        const float* x = got[i].scores.f32() + l * std::ssize(want);
        for (size_t j = 0; j < want.size(); ++j) {
          largest = std::max(largest, std::abs(want[j]));
          worst = std::max(worst, std::abs(want[j] - x[j]));
        }
        EXPECT_GT(largest, 0) << name;
        EXPECT_LE(worst, 1e-4 * largest + 1e-9) << name << " layer " << l << " prompt " << i;
      }
  }
}

TEST(NeuronAttribution, adds_up_to_the_difference_that_the_layer_makes) {
  const auto model = golden("gpt2");
  const std::vector<FactPrompt> prompts{{.ids = {5, 17, 3, 9}, .answer = {11}}, {.ids = {2, 4, 8}, .answer = {7}}};
  for (const PromptAttribution& a : attribute_neurons(*model, prompts, {.steps = 20, .most_steps = 20}))
    for (const AttributionGap& gap : a.gaps) {
      EXPECT_EQ(gap.steps, 20);
      EXPECT_LE(gap.gap, 1e-4);  // K1's smooth case
    }
  // P(0) by an edit of the whole model's own pass.
  const auto a = attribute_neurons(*model, prompts, {});
  for (int l = 0; l < model->config().n_layers; ++l) {
    Batch batch;
    batch.add_sequence(prompts[0].ids);
    Plan plan;
    plan.edit({.site = {SiteKind::kMlpPost, l}, .where = {.pos = Range{3, 4}}, .op = EditOp::kZero});
    const Tensor logits = forward(*model, {.batch = batch, .plan = &plan}).logits.data;
    double sum = 0;
    for (int64_t i = 0; i < model->config().d_mlp; ++i) sum += a[0].scores.f32()[l * model->config().d_mlp + i];
    const double difference = a[0].probability - softmax_at(logits.f32(), model->config().vocab, 11);
    EXPECT_NEAR(sum, difference, 1e-3 * std::abs(difference)) << l;
  }
}

TEST(NeuronAttribution, doubles_the_nodes_until_it_adds_up) {
  NeuronsModel m;
  m.plant_fact(1, 5, 0, 4);  // steep: two nodes are far too few
  const auto model = m.load();
  const Fact f = NeuronsModel::fact(0, "r", 2);
  const auto coarse = attribute_neurons(*model, f.prompts, {.steps = 2, .most_steps = 2});
  EXPECT_GT(coarse[0].gaps[1].gap, 0.01);
  EXPECT_EQ(coarse[0].gaps[1].steps, 2);
  for (const PromptAttribution& a : attribute_neurons(*model, f.prompts, {.steps = 2}))
    for (const AttributionGap& gap : a.gaps) EXPECT_LE(gap.gap, 0.01) << gap.steps;
  const auto few = attribute_neurons(*model, f.prompts, {.rule = QuadratureRule::kLeft, .steps = 2, .most_steps = 6});
  EXPECT_EQ(few[0].gaps[1].steps, 6) << "the limit is reached, and no more";
}

TEST(NeuronAttribution, does_not_depend_on_how_prompts_are_batched) {
  NeuronsModel m;
  m.plant_fact(1, 5, 0);
  const auto model = m.load();
  const Fact f = NeuronsModel::fact(0, "r", 5);
  const auto together = attribute_neurons(*model, f.prompts, {.rows = 1000});
  const auto apart = attribute_neurons(*model, f.prompts, {.rows = 1});
  for (size_t i = 0; i < f.prompts.size(); ++i) {
    EXPECT_EQ(together[i].gaps[0].steps, apart[i].gaps[0].steps);
    for (int64_t j = 0; j < together[i].scores.numel(); ++j)
      ASSERT_NEAR(together[i].scores.f32()[j], apart[i].scores.f32()[j], 1e-6) << i << " " << j;
  }
}

TEST(NeuronAttribution, saves_the_work_that_other_positions_and_lower_layers_need) {
  const auto model = golden("llama_gqa_tied");
  NeuronMacs macs;
  attribute_neurons(*model, std::vector<FactPrompt>{{.ids = {5, 17, 3, 9, 1, 2, 3, 4}, .answer = {11}}},
                    {.steps = 20, .most_steps = 20}, &macs);
  EXPECT_GT(macs.executed, 0);
  EXPECT_LE(static_cast<double>(macs.executed), 0.55 * static_cast<double>(macs.plain));
}

TEST(NeuronAttribution, refuses_a_model_without_mlps) {
  const auto model = golden("attn_only_ln");
  EXPECT_THROW(attribute_neurons(*model, std::vector<FactPrompt>{{.ids = {1, 2}, .answer = {3}}}, {}), Error);
}

TEST(NeuronAttribution, planted_fact_neurons_are_found_and_ranked_first) {
  NeuronsModel m;
  for (int f = 0; f < NeuronsModel::kFacts; ++f) m.plant_fact(1, 5 + f, f, 1, f % 2 ? -1 : 1);
  const auto model = m.load();
  for (int f = 0; f < NeuronsModel::kFacts; ++f) {
    const auto prompts = attribute_neurons(*model, NeuronsModel::fact(f, "r").prompts, {});
    for (const PromptAttribution& p : prompts) EXPECT_TRUE(p.right);
    const RefinedNeurons r = refine_neurons(prompts, {});
    ASSERT_EQ(r.neurons.size(), 1u) << "and nothing else";
    EXPECT_EQ(r.neurons[0].neuron, (NeuronRef{1, 5 + f}));
    EXPECT_EQ(r.neurons[0].activation < 0, f % 2 == 1);
  }
}

TEST(NeuronAttribution, an_always_on_neuron_is_a_hub_and_no_knowledge) {
  NeuronsModel m(0, 0.005f);
  for (int f = 0; f < NeuronsModel::kFacts; ++f) m.plant_fact(1, 5 + f, f, 0.12f);
  m.plant_hub(1, 60, 0.1f);
  const auto model = m.load();
  std::vector<Fact> facts;
  std::vector<std::vector<FoundNeuron>> found;
  int with_hub = 0;
  for (int f = 0; f < NeuronsModel::kFacts; ++f) {
    facts.push_back(NeuronsModel::fact(f, f < 4 ? "a" : "b"));
    found.push_back(refine_neurons(attribute_neurons(*model, facts.back().prompts, {}), {}).neurons);
    for (const FoundNeuron& n : found.back()) with_hub += n.neuron == NeuronRef{1, 60};
  }
  ASSERT_EQ(with_hub, NeuronsModel::kFacts) << "attribution alone is taken in";
  const FilteredNeurons r = filter_hubs(facts, found);
  ASSERT_EQ(r.hubs.size(), 1u);
  EXPECT_EQ(r.hubs[0].neuron, (NeuronRef{1, 60}));
  EXPECT_EQ(r.hubs[0].facts, NeuronsModel::kFacts);
  EXPECT_EQ(r.hubs[0].unrelated, 1.0);
  for (int f = 0; f < NeuronsModel::kFacts; ++f) {
    ASSERT_EQ(r.facts[f].size(), 1u);
    EXPECT_EQ(r.facts[f][0].neuron, (NeuronRef{1, 5 + f}));
  }
}

constexpr float kNoise = 0.03f;

// The largest refined attribution of a random model, 0 where nothing is found.
double random_score(uint64_t seed) {
  const NeuronsModel m(seed, kNoise);
  const auto model = m.load();
  const Fact f = NeuronsModel::fact(0, "r", 3);
  const RefinedNeurons r = refine_neurons(attribute_neurons(*model, f.prompts, {.steps = 8, .most_steps = 8}), {});
  return r.neurons.empty() ? 0 : r.neurons[0].score;
}

TEST(NeuronAttribution, random_weights_give_no_false_hits) {
  set_num_threads(1);  // products too small to share
  std::vector<double> null;
  for (uint64_t seed = 0; seed < 1000; ++seed) null.push_back(random_score(seed));
  std::sort(null.begin(), null.end());
  const double bar = null[998];
  int hits = 0;
  for (uint64_t seed = 0; seed < 1000; ++seed) hits += random_score(100000 + seed) > bar;
  EXPECT_LE(hits, 10);
  NeuronsModel planted(7, kNoise);
  planted.plant_fact(1, 5, 0);
  const auto model = planted.load();
  const RefinedNeurons r = refine_neurons(attribute_neurons(*model, NeuronsModel::fact(0, "r", 3).prompts, {}), {});
  ASSERT_FALSE(r.neurons.empty());
  EXPECT_EQ(r.neurons[0].neuron, (NeuronRef{1, 5}));
  EXPECT_GT(r.neurons[0].score, 2 * bar);
  set_num_threads(0);
}

}  // namespace
}  // namespace microtome
