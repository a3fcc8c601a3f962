// weights: what a model's weights say without running it: copying and matching, composition, token pairs, skip-trigrams,
// bigrams, singular directions, neurons, induction, virtual heads, the residual stream's readers and writers.
//
//   Json result = api::weights(context, {.verb = "copying"});           // {model, verb, rows[{layer, head, score, ...}], ...}
//
// All in the folded view (docs/weights.md); rows by falling score unless said otherwise.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "microtome/api/request.h"
#include "microtome/circuits/algebra/composition.h"
#include "microtome/circuits/algebra/vocabulary.h"

namespace microtome::api {

struct WeightsOptions {
  std::string verb;
  // Which heads; empty: all. `from` and `to` bound the ends of pairs (composition, virtual).
  std::vector<algebra::HeadId> heads, from, to;
  std::optional<int64_t> head;  // of every layer, or of `layers`
  std::vector<int> layers;      // neurons, residual, svd of MLP matrices; empty: all
  int64_t offset = 0;           // RoPE models: query position - key position
  algebra::EmbeddingKind embedding = algebra::EmbeddingKind::kToken;
  std::optional<int64_t> top;  // rows (of each head for pairs and skip-trigrams); 0: all
  int64_t tokens = 10;         // tokens shown of a direction
  int64_t own_top = 0;         // copying, matching: also the share of tokens that are in the top K of their own row
  std::string circuit;         // pairs: ov | qk; svd: ov | qk | in | gate | out
  std::vector<algebra::CompositionKind> kinds;
  std::vector<std::string> sources;  // pairs, bigrams: only these tokens
  int64_t per_source = 4;            // skip-trigrams: destinations and outputs of each source; bigrams: 0 is no bound
  int64_t directions = 3;            // svd
  int64_t draws = 100;               // random heads or pairs of the control
  std::string show = "deletion";     // residual: deletion | copying | links
  uint64_t seed = 0;
};

std::span<const char* const> weights_verbs();
// Fields by the long option names, `verb` among them; heads as "17.3,17.4" or `layer` and `head`. Refuses a field that the verb
// does not use. Throws InvalidArgument.
WeightsOptions weights_options(const Json& request);

Json weights(const Context& context, const WeightsOptions& options);

// The spectra of `copying` or `matching` as an SVG image: one panel a head, eigenvalues in the complex plane.
std::string spectra_svg(const Json& result);

}  // namespace microtome::api
