// Fact: a subject, a relation, an answer, and the prompts that ask for it, as token ids.
//
//   Fact f{.id = "france", .relation = "capital", .prompts = {{.ids = ids("The capital of France is"), .answer = {paris}}}};
//   check_fact(f, config);
//
// Plain data; no thread rule.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "microtome/model/config.h"

namespace microtome {

// One neuron of one MLP: index into mlp.hook_post, 0 .. d_mlp - 1. Its value row is row `index` of the layer's W_out.
struct NeuronRef {
  int layer = 0, index = 0;
  auto operator<=>(const NeuronRef&) const = default;
};

struct FactPrompt {
  std::vector<int32_t> ids;         // T tokens; the answer is predicted from the last one on
  std::vector<int32_t> answer;      // of several tokens, each is predicted behind the true ones before it
  std::vector<int32_t> new_answer;  // what a rewrite puts in its place; may be empty
};

struct Fact {
  std::string id, relation;
  std::string answer;               // compared between facts: facts of one answer are no controls of each other
  std::vector<FactPrompt> prompts;  // neurons are found on these
  std::vector<FactPrompt> heldout;  // and edits must hold on these
};

// Throws InvalidArgument, naming the fact: no prompts, an empty prompt or answer, a prompt that with its answer is longer than
// the model's context, an id outside of the vocabulary.
void check_fact(const Fact& fact, const Config& config);

}  // namespace microtome
