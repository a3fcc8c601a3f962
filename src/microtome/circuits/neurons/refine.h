// From attributions to a fact's neurons (circuits specification, section 9): a threshold within each prompt, agreement over the
// fact's prompts, and a filter against neurons that many facts share.
//
//   RefinedNeurons r = refine_neurons(attribute_neurons(model, fact.prompts, {}), {});
//   FilteredNeurons f = filter_hubs(facts, {r.neurons, ...});
//
// Pure functions.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/neurons/attribution.h"

namespace microtome {

struct RefineOptions {
  double threshold = 0.2;   // of a prompt's largest attribution over all layers
  double share = 0.7;       // of the prompts that a neuron must be found in,
  int least_prompts = 3;    // and at least so many (all of them, where there are fewer)
  double shift = 0.05;      // the share is moved by this, towards more or fewer neurons,
  int shifts = 6;           // at most so many times,
  int least = 2, most = 5;  // until there are so many
};

struct FoundNeuron {
  NeuronRef neuron;
  double score = 0;       // mean attribution over all prompts
  double activation = 0;  // mean of mlp.hook_post
  int prompts = 0;        // that it passed the threshold in
};

struct RefinedNeurons {
  std::vector<FoundNeuron> neurons;      // highest score first
  double share = 0;                      // that was arrived at
  std::vector<FoundNeuron> most_active;  // a baseline: equally many with the largest mean |activation|
};

RefinedNeurons refine_neurons(std::span<const PromptAttribution> prompts, const RefineOptions& options);

// A neuron that does not belong to one fact.
struct HubNeuron {
  NeuronRef neuron;
  int facts = 0;             // that it was found for
  double unrelated = 0;      // the largest share of facts of other relations that it was found for, seen from a fact that has it
  double same_relation = 0;  // the same for facts of the same relation with another answer
};

struct FilteredNeurons {
  std::vector<std::vector<FoundNeuron>> facts;  // in the order given
  std::vector<HubNeuron> hubs;                  // most facts first
};

// Drops from each fact the neurons that were found for more than `most_share` of the facts of other relations, or of the same
// relation with another answer. Facts with the same answer do not count against each other.
FilteredNeurons filter_hubs(std::span<const Fact> facts, std::span<const std::vector<FoundNeuron>> found,
                            double most_share = 0.05);

}  // namespace microtome
