// NeuronChange: what is done to some neurons, and what predictions become of it, beside the model as it is.
//
//   ChangeBench bench(model, prompts, {change.first_layer()});
//   auto outcomes = bench.run({&suppress, &random}, {0, 1, 2});       // [change][prompt]
//   double loss = bench.text_loss(text, &suppress);
//
// suppress (0) and amplify (x2) act on mlp.hook_post at the predicting positions alone, as in Dai et al. 2022; erase (the value
// row is 0) and rewrite (the value row moves) are changes of the weights, and act everywhere. The Model stays as it is: a value
// row that moves by dv is mlp_out + post_i dv. On a text, all four act at every token.
// Only layers from a change's lowest on are run, and only the predicting positions where nothing else changes. One thread.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/neurons/fact.h"
#include "microtome/model/model.h"

namespace microtome {

enum class NeuronOp : uint8_t { kSuppress, kAmplify, kErase, kRewrite };
const char* neuron_op_name(NeuronOp op);  // "suppress", ...

struct NeuronChange {
  NeuronOp op = NeuronOp::kSuppress;
  std::vector<NeuronRef> neurons;
  Tensor deltas;  // kRewrite: [neurons, D], added to the value rows

  int first_layer() const;  // the lowest that it changes; 0 without neurons
  bool everywhere() const { return op == NeuronOp::kErase || op == NeuronOp::kRewrite; }
};

// Value rows [n, D] of some neurons.
Tensor value_rows(const Model& model, std::span<const NeuronRef> neurons);

// gamma_final * W_U[:, token] at length 1 (without gamma where there is none): the direction that says `token`. [D]
Tensor token_direction(const Model& model, int32_t token);

// v + s |v| (-from e(old) + to e(new)), s the sign of each neuron's activation.
NeuronChange rewrite_change(const Model& model, std::span<const NeuronRef> neurons, std::span<const double> activations,
                            int32_t old_token, int32_t new_token, double from = 1, double to = 8);

// Equally many others in each layer, drawn by (seed, purpose, draw), never one of `neurons`. Layers whose neurons do not
// suffice give what they have.
std::vector<NeuronRef> random_neurons(std::span<const NeuronRef> neurons, int64_t d_mlp, uint64_t seed, std::string_view purpose,
                                      int draw);

// Mean of mlp.hook_post of some neurons over the prompts' predicting positions.
std::vector<double> mean_activations(const Model& model, std::span<const FactPrompt> prompts, std::span<const NeuronRef> neurons);

struct FactOutcome {
  double answer = 0;      // probability, mean over the answer's tokens
  double new_answer = 0;  // of the new answer's first token where the answer's first is predicted; 0 without one
  int32_t top = 0;        // most probable there
  bool right = false;     // every token of the answer is the most probable
};

class ChangeBench {
 public:
  // Runs the prompts as they are. `layers`: the lowest layers of the changes to come.
  ChangeBench(const Model& model, std::vector<FactPrompt> prompts, std::span<const int> layers,
              const Progress* progress = nullptr);

  const std::vector<FactOutcome>& unchanged() const { return unchanged_; }

  // Outcomes of each change on each of the chosen prompts.
  std::vector<std::vector<FactOutcome>> run(std::span<const NeuronChange* const> changes, std::span<const int> prompts);

 private:
  struct Job {
    const NeuronChange* change;
    int prompt;
    FactOutcome* out;
  };
  void run_jobs(std::span<const Job> jobs, int first_layer, bool everywhere);
  int64_t rows_of(const Job& job, bool everywhere) const;

  const Model& model_;
  std::vector<FactPrompt> prompts_;
  const Progress* progress_;
  std::vector<KvCache> caches_;
  std::vector<int64_t> begins_;                    // of each prompt's rows in resid_pre
  std::vector<std::pair<int, Tensor>> resid_pre_;  // by layer
  std::vector<FactOutcome> unchanged_;
};

// Mean next-token loss of a text, in nats, under each change (null: the model as it is). At most the model's context.
std::vector<double> text_losses(const Model& model, std::span<const int32_t> text, std::span<const NeuronChange* const> changes,
                                Progress* progress = nullptr);

}  // namespace microtome
