// Direct logit attribution: the logit of a token, or the difference of two, as a sum over what wrote to the final stream.
//
//   DirectAttribution a = direct_logit_attribution(model, ids, {.target = mary, .versus = john}, {});
//   a.components;                      // embed, a9.h6, m5, a5.bias, ...: they add up to a.logit
//
// The final stream is embedding + learned positions + heads + MLPs + biases. With the final norm's scale sigma frozen at its
// value in the run, component c counts ((c - mean c) / sigma * gamma) · (W_U[:, target] - W_U[:, versus]); RMSNorm takes no mean
// away; beta and b_U are rows of their own (circuits specification, section 3). Sums in double, in a fixed order.
//
// Head bias view: `folded` gives what a head adds through its value bias (b_V and, under LayerNorm, beta W_V) to its layer's bias
// row, as TransformerLens' folded models have it; else it stays with the head. One thread.
#pragma once

#include <string>
#include <vector>

#include "microtome/model/model.h"

namespace microtome {

// Which logit: of `target`, less that of `versus` where that is not -1.
struct LogitDirection {
  int32_t target = 0, versus = -1;
};

// The direction as the final stream is read: a stream x counts (weight · x) + constant.
struct StreamDirection {
  std::vector<double> weight;              // [D], with gamma and 1 / sigma, without its mean under LayerNorm
  double norm_bias = 0, unembed_bias = 0;  // beta and b_U
};
// `scale`: sigma at the position. Throws InvalidArgument for a token outside of the vocabulary.
StreamDirection stream_direction(const Model& model, const LogitDirection& direction, double scale);

struct LogitComponent {
  enum class Kind : uint8_t {
    kEmbed,
    kPosition,
    kHead,
    kAttentionBias,
    kMlp,
    kMlpBias,
    kNeuron,
    kNormBias,
    kUnembedBias,
    kEdits
  } kind;
  int layer = -1, head = -1, neuron = -1;
  double logit = 0;

  // "embed", "position", "a5.h1", "a5.bias", "m5", "m5.bias", "m5.n17", "final.bias", "unembed.bias", "edits".
  std::string name() const;
};

struct DirectAttributionOptions {
  int64_t position = -1;    // negative: from the end
  bool folded = true;       // head bias view
  int64_t top_neurons = 0;  // those of the largest share, by |logit|
};

struct DirectAttribution {
  std::vector<LogitComponent> components;  // in forward order; an MLP is the sum of its neurons
  std::vector<LogitComponent> neurons;     // the largest first; parts of the MLPs above
  double total = 0;                        // sum of the components
  double logit = 0;                        // of the run itself
};

// `edits`: a plan whose edits are in force. What they write to the stream itself, and no component does, is a component "edits".
// Throws InvalidArgument for a position outside of the prompt, and what forward throws.
DirectAttribution direct_logit_attribution(const Model& model, const std::vector<int32_t>& ids, const LogitDirection& direction,
                                           const DirectAttributionOptions& options, const Plan* edits = nullptr);

}  // namespace microtome
