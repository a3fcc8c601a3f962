// Quadrature, the rules of refinement, and the filter, on numbers made by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "microtome/circuits/neurons/refine.h"

namespace microtome {
namespace {

TEST(NeuronQuadrature, gauss_is_exact_for_polynomials) {
  for (const int m : {1, 2, 5, 20, 128}) {
    const Quadrature q = quadrature(QuadratureRule::kGauss, m);
    for (int degree = 0; degree < std::min(2 * m, 40); ++degree) {
      double sum = 0;
      for (int k = 0; k < m; ++k) sum += q.weights[k] * std::pow(q.nodes[k], degree);
      EXPECT_NEAR(sum, 1.0 / (degree + 1), 1e-13) << m << " nodes, degree " << degree;
    }
    EXPECT_TRUE(std::is_sorted(q.nodes.begin(), q.nodes.end()));
  }
}

TEST(NeuronQuadrature, riemann_sums_stand_where_they_say) {
  EXPECT_EQ(quadrature(QuadratureRule::kLeft, 4).nodes, (std::vector<double>{0, 0.25, 0.5, 0.75}));
  EXPECT_EQ(quadrature(QuadratureRule::kRight, 4).nodes, (std::vector<double>{0.25, 0.5, 0.75, 1}));
  EXPECT_EQ(quadrature(QuadratureRule::kMidpoint, 2).nodes, (std::vector<double>{0.25, 0.75}));
  EXPECT_EQ(parse_quadrature("right"), QuadratureRule::kRight);
}

// A prompt whose attributions (one layer) are these.
PromptAttribution prompt(std::vector<float> scores) {
  const int64_t m = std::ssize(scores);
  PromptAttribution p;
  p.activation = Tensor::from(scores, {1, m});
  p.scores = Tensor::from(std::move(scores), {1, m});
  return p;
}

std::vector<int> indices(const std::vector<FoundNeuron>& neurons) {
  std::vector<int> out;
  for (const FoundNeuron& n : neurons) out.push_back(n.neuron.index);
  return out;
}

TEST(NeuronRefinement, keeps_what_passes_the_threshold_in_enough_prompts) {
  // Neuron 0 in all ten prompts, 1 in eight, 2 in six; 3 is below 20 % of the largest everywhere.
  std::vector<PromptAttribution> prompts;
  for (int i = 0; i < 10; ++i) prompts.push_back(prompt({10, i < 8 ? 5.0f : 0, i < 6 ? 20.0f : 0, 1.9f}));
  const RefinedNeurons r = refine_neurons(prompts, {});
  EXPECT_EQ(indices(r.neurons), (std::vector<int>{0, 1}));
  EXPECT_EQ(r.neurons[1].prompts, 8);
  EXPECT_DOUBLE_EQ(r.neurons[1].score, 4);
  EXPECT_DOUBLE_EQ(r.share, 0.7);
  EXPECT_EQ(indices(r.most_active), (std::vector<int>{2, 0}));
}

TEST(NeuronRefinement, moves_the_share_towards_two_to_five) {
  std::vector<PromptAttribution> few, many;
  for (int i = 0; i < 10; ++i) few.push_back(prompt({10, i < 6 ? 5.0f : 0, i < 2 ? 5.0f : 0}));
  EXPECT_EQ(indices(refine_neurons(few, {}).neurons), (std::vector<int>{0, 1}));
  EXPECT_NEAR(refine_neurons(few, {}).share, 0.6, 1e-12);
  for (int i = 0; i < 10; ++i) {
    std::vector<float> x(8, 9);
    if (i >= 8) x[0] = x[1] = x[2] = x[3] = 0;
    many.push_back(prompt(x));
  }
  EXPECT_EQ(indices(refine_neurons(many, {}).neurons), (std::vector<int>{4, 5, 6, 7}));
  EXPECT_NEAR(refine_neurons(many, {}).share, 0.85, 1e-12);
}

TEST(NeuronRefinement, asks_for_three_prompts_where_there_are_three) {
  std::vector<PromptAttribution> prompts;
  for (int i = 0; i < 4; ++i) prompts.push_back(prompt({10, i < 2 ? 5.0f : 0}));
  EXPECT_EQ(indices(refine_neurons(prompts, {}).neurons), (std::vector<int>{0})) << "two of four prompts are not enough";
  const std::vector<PromptAttribution> two(prompts.begin(), prompts.begin() + 2);
  EXPECT_EQ(refine_neurons(two, {}).neurons.size(), 2u);
}

TEST(NeuronRefinement, negative_attributions_are_no_neurons) {
  const std::vector<PromptAttribution> prompts(3, prompt({-5, -1}));
  EXPECT_TRUE(refine_neurons(prompts, {}).neurons.empty());
}

TEST(NeuronFilter, facts_of_one_answer_do_not_count_against_each_other) {
  std::vector<Fact> facts(4);
  std::vector<std::vector<FoundNeuron>> found(4);
  const char* relations[] = {"capital", "capital", "born", "born"};
  const char* answers[] = {"Paris", "Rome", "Paris", "Oslo"};
  for (int f = 0; f < 4; ++f) {
    facts[f].relation = relations[f];
    facts[f].answer = answers[f];
  }
  const auto found_in = [&](int index, std::initializer_list<int> list) {
    for (const int f : list) found[f].push_back({.neuron = {0, index}});
  };
  found_in(1, {0, 2});  // both say Paris
  found_in(2, {0, 1});  // the relation, not the fact
  found_in(3, {0, 3});  // two relations
  found_in(4, {1});     // one fact
  const FilteredNeurons r = filter_hubs(facts, found);
  EXPECT_EQ(indices(r.facts[0]), (std::vector<int>{1}));
  EXPECT_EQ(indices(r.facts[1]), (std::vector<int>{4}));
  EXPECT_EQ(indices(r.facts[2]), (std::vector<int>{1}));
  EXPECT_TRUE(r.facts[3].empty());
  ASSERT_EQ(r.hubs.size(), 2u);
  EXPECT_EQ(r.hubs[0].same_relation, 1.0);
  EXPECT_EQ(r.hubs[0].unrelated, 0.0);
  EXPECT_EQ(r.hubs[1].unrelated, 1.0);
}

}  // namespace
}  // namespace microtome
