// neurons: which neurons hold a fact, and what becomes of the fact, its paraphrases and other facts when they are changed
// (Dai et al. 2022; circuits specification, section 9).
//
//   NeuronsOptions options{.facts = facts, .suppress = true};
//   Json result = neurons(context, options);          // {model, facts[], hubs[], perplexity, locality, operations[], ...}
//
// A fact is an object {id, relation, subject, answer, new_answer, prompts[], heldout[]}; prompts and answers are texts or lists
// of token ids. An answer given as text gets a space before it, unless it begins with one or the prompt ends with one.
#pragma once

#include <functional>

#include "microtome/api/request.h"
#include "microtome/circuits/neurons/change.h"
#include "microtome/circuits/neurons/refine.h"

namespace microtome::api {

struct NeuronsOptions {
  std::vector<Json> facts;
  std::string facts_where;  // the file that they are of, as messages call it; empty: a request
  std::optional<bool> bos;
  bool check = false;  // only say how often the model is right
  bool find = false;   // only find, where no operation is asked for; finding and suppressing is the default
  bool suppress = false, amplify = false, erase = false, rewrite = false;

  QuadratureRule rule = QuadratureRule::kGauss;
  int64_t steps = 20, most_steps = 0;  // 0: 128, or `steps` where they are more
  double threshold = 0.2, share = 0.7, hub_share = 0.05;
  double from = 1, to = 8;          // a rewrite's lengths of e(old) and e(new), in units of the value row
  int64_t controls = 8;             // control facts of the same relation, and as many of others
  int64_t draws = 20;               // of random neurons
  std::optional<std::string> text;  // whose perplexity is reported; absent: a short text of our own
  int64_t text_tokens = 256;        // of it
  uint64_t seed = 0;

  // What was found before (lines that on_found was given), taken instead of computing it again where model, fact and settings
  // are the same.
  std::vector<Json> found;
  std::string found_where;                         // their file, as messages call it
  std::function<void(const Json& line)> on_found;  // after each fact
};

// From a request's body: the options by their long names, `facts` a list of objects.
NeuronsOptions neurons_options(const Json& request);

// Throws FieldError for facts that are malformed, that lack what an operation needs, or that the tokenizer splits into nothing.
Json neurons(const Context& context, const NeuronsOptions& options);

// --- between the neurons files ---------------------------------------------------------------------------------

struct NeuronsFact {
  Fact fact;
  std::string subject, prompt, answer, new_answer;  // as shown
  std::vector<FoundNeuron> neurons;                 // without hubs
  std::vector<FoundNeuron> most_active;             // equally many
  int right = 0;                                    // of its prompts
};

// One fact of a request; `number` (from 0) names it where it has no id. Throws FieldError, and what check_fact throws.
NeuronsFact read_neurons_fact(const Context& context, std::optional<bool> bos, const Json& json, size_t number);

// A line of what was found before. Throws Error(kCorrupt), naming `where`, for one that find() cannot have written: every field
// of its type, neurons that the model has.
struct FoundLine {
  std::vector<FoundNeuron> neurons, most_active;
  int right = 0;
  double probability = 0, share = 0;
  int64_t macs_plain = 0, macs_executed = 0;
};
FoundLine read_found_line(const Json& line, const Config& config, const std::string& where);

// Adds `effect` and `effects` to each fact's object, and operations[], perplexity and locality to the result.
void add_neuron_effects(const Context& context, const NeuronsOptions& options, const std::vector<NeuronsFact>& facts,
                        Json& result);

}  // namespace microtome::api
