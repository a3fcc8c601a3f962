// Scores of attention patterns against targets: which share of its attention a head spends where a detector says it should.
//
//   TargetCells cells = targets(text, {.measure = Measure::kStripe});
//   auto scores = attention_scores(model, texts, options, progress);           // fused: no pattern is stored
//   auto slow = attention_scores(pattern, text, options);                      // from a stored pattern [H, T, T]
//
// Definitions (circuits specification, section 5), A the pattern [T, T], P the target's 0 and 1:
//   mul     Σ (A ⊙ P) / Σ A                      exclude_* zero column 0, the diagonal, of a copy of A
//   abs     1 - T · mean |A - P|                 exclude_* zero them in |A - P|
//   stripe  mean of A over the target's cells: previous i >= 1; in a block of n repeated, duplicate A[i, i-n] and induction
//           A[i, i-n+1] for i >= n; current the diagonal; exclude_* do not apply
// and sink is always the mean of A[i, 0]. Everything is a sum over listed cells and over rows, so that |A - P| too needs only the
// listed entries: Σ A - 2 Σ_P A + |P|. Several texts: each scored alone, then the mean. Sums in double, in a fixed order.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "microtome/circuits/heads/detectors.h"
#include "microtome/circuits/heads/probe.h"

namespace microtome::heads {

enum class Measure : uint8_t { kMul, kAbs, kStripe };

struct ScoreOptions {
  std::optional<Measure> measure;  // absent: stripe on text that is a block repeated, else mul
  bool exclude_bos = false, exclude_current = false;
  const Plan* edits = nullptr;  // of the passes
};

// One head's scores by detector; only the attention detectors'.
using AttentionRow = std::array<double, kAttentionDetectors>;

// [heads]: of a model head by head, layer by layer: layer * H + head.
struct AttentionScores {
  std::vector<AttentionRow> mean;
  std::vector<double> entropy;     // mean over queries, nats; empty where not asked for
  std::vector<double> sink_share;  // share of texts in which the mean attention to position 0 is over .3 (Gu et al. 2024)
};

// What both paths sum, per query: column 0, the diagonal, and the cells of previous, duplicate and induction that count (those
// that are excluded are left out). Throws InvalidArgument where stripe is asked for and the text is no block repeated, unless
// `lenient`: then duplicate and induction have no cells.
inline constexpr int kMassLists = 5;
// One list more where something is excluded: all that is kept, so that what a sink leaves over is summed and not subtracted.
int mass_lists(const ProbeText& text, const ScoreOptions& options);
void append_lists(const ProbeText& text, const ScoreOptions& options, KeyLists& lists, bool lenient = false);

// [heads] from mass [T, heads, width] of one text's lists, whose rows begin at `first_row` of `lists`. row_sums [T, heads]: of
// patterns whose rows need not sum to 1.
std::vector<AttentionRow> scores_of_mass(const ProbeText& text, const ScoreOptions& options, const KeyLists& lists,
                                         std::span<const double> mass, int64_t heads, std::span<const double> row_sums = {});

// One fused pass for each text.
AttentionScores attention_scores(const Model& model, std::span<const ProbeText> texts, const ScoreOptions& options,
                                 Progress* progress = nullptr, bool entropy = false, bool lenient = false);

// From a stored pattern [H, T, T], which is not changed.
std::vector<AttentionRow> attention_scores(const Tensor& pattern, const ProbeText& text, const ScoreOptions& options,
                                           bool lenient = false);

// Of a head that attends to all it sees alike: what the scores are above.
AttentionRow uniform_scores(const ProbeText& text, const ScoreOptions& options, bool lenient = false);

Measure measure_of(const ProbeText& text, const ScoreOptions& options);
std::string_view measure_name(Measure measure);

// Mean attention of each query to listed keys, one list: mass [L * H] averaged over the queries of all texts that have a list.
// `keys(text, query)`: the keys of one query.
using KeysOf = std::function<std::vector<int32_t>(const ProbeText& text, int64_t query)>;
std::vector<double> mean_mass(const Model& model, std::span<const ProbeText> texts, const KeysOf& keys,
                              Progress* progress = nullptr, const Plan* edits = nullptr);

}  // namespace microtome::heads
