// `paths`: which parts wrote a logit. Direct logit attribution for every model; for attention-only ones also all paths through up
// to two heads, and what each order of paths is worth.
//
//   Json result = paths(context, options)[0];     // {model, tokens[], position, target, versus, terms[{path, order, logit}],
//                                                 //  components[{name, layer, head, logit}], neurons[], orders[], total, logit}
#pragma once

#include "microtome/api/request.h"

namespace microtome::api {

struct PathsOptions {
  InputOptions input;
  std::vector<EditOptions> edits;     // what they write to the stream themselves is a component, and a term, "edits"
  std::optional<std::string> target;  // absent: the model's most probable token
  std::optional<std::string> versus;  // absent: the logit itself
  int64_t position = -1;              // negative: from the end
  bool folded = true;                 // head bias view: value biases count for their layer's bias, not for heads
  int64_t neurons = 20;               // listed, by |logit|
};
PathsOptions paths_options(const Json& request);

// One object per prompt. Models with MLPs have no terms and orders.
std::vector<Json> paths(const Context& context, const PathsOptions& options);

}  // namespace microtome::api
