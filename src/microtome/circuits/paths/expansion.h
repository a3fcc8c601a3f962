// Path expansion of a logit (Elhage et al. 2021): an attention-only model with frozen patterns and norm scales is a sum over
// paths from a source through no head, one head, two heads, ... to the logits.
//
//   FrozenRun run = freeze(model, ids, {target});
//   PathExpansion e = expand_paths(model, run, {.target = target}, ids.size() - 1);
//   e.terms;                   // "token -> a0.h7 -> a1.h4": 0.83, ...; they add up to e.logit
//
// Sources are the tokens' embeddings, learned positions, each layer's b_O ("a0.bias") and the heads' own value biases ("bias",
// which begin inside of a head: b_V and, under LayerNorm, beta W_V). Each path is divided by the frozen norm scales on its way.
// Paths of up to two heads are listed; in deeper models the rest is one term, "order >= 3". Sums in double, in a fixed order. One
// thread.
#pragma once

#include <string>
#include <vector>

#include "microtome/circuits/paths/frozen_run.h"
#include "microtome/lens/direct_logit_attribution.h"

namespace microtome {

struct PathTerm {
  std::string source;  // "token", "position", "a0.bias", "bias", "final.bias", "unembed.bias", "order >= 3", "edits"
  std::vector<algebra::HeadId> heads;  // passed through, first to last
  int64_t order() const { return static_cast<int64_t>(heads.size()); }
  double logit = 0;

  std::string name() const;  // "token -> a0.h7 -> a1.h4"
};

struct PathExpansion {
  std::vector<PathTerm> terms;       // by order, then by where they pass
  std::vector<double> order_logits;  // sum of the paths through n heads, n = 0 .. L; the norm's and the unembedding's bias at 0
  double total = 0, logit = 0;       // sum of the terms; the run's own
};

// `position`: whose logit it is. `run` holds the direction's logits (target, then versus).
PathExpansion expand_paths(const Model& model, const FrozenRun& run, const LogitDirection& direction, int64_t position,
                           Progress* progress = nullptr);

// The final stream by the number of heads passed, [L + 1][T, D]: they add up to the stream.
std::vector<std::vector<double>> stream_orders(const FrozenRun& run, Progress* progress = nullptr);

// Mean next-token loss of the prompt with the paths through at most n heads, n = 0 .. L, scales frozen (Elhage et al.: the loss
// when head outputs are replaced by those of the run before). Throws InvalidArgument for a prompt of one token.
std::vector<double> order_losses(const Model& model, const FrozenRun& run, const std::vector<std::vector<double>>& orders);

}  // namespace microtome
