#include "microtome/cli/command.h"

namespace microtome::cli {

std::span<const CommandEntry> commands() {
  static constexpr CommandEntry kCommands[] = {
      {"pull", "fetch a model", make_pull},
      {"models", "list the models that are here", make_models},
      {"inspect", "a model's configuration, tensors and sites", make_inspect},
      {"tokenize", "text to token ids and pieces", make_tokenize},
      {"run", "generate text", make_run},
      {"trace", "write activations and gradients to an npz file", make_trace},
      {"lens", "the logit lens: what each layer would say next", make_lens},
      {"perplexity", "loss and perplexity of a text", make_perplexity},
      {"heads", "which attention heads do what, and whether it matters", make_heads},
      {"weights", "circuits read from the weights alone", make_weights},
      {"tasks", "prompts with known answers, and how often the model is right", make_tasks},
      {"patch", "which places carry the difference between two prompts", make_patch},
      {"circuit", "which edges make a task's circuit, and how good it is", make_circuit},
      {"train", "fit a lens to a model", make_train},
      {"neurons", "which neurons hold a fact, and what changing them does", make_neurons},
      {"paths", "which parts of the model wrote a logit", make_paths},
      {"bench", "how fast this machine runs a model", make_bench},
      {"serve", "the page and the HTTP interface", make_serve},
      {"completion", "a script that completes commands in bash, zsh or fish", make_completion},
  };
  return kCommands;
}

}  // namespace microtome::cli
