// Tables over token pairs, [V, V], streamed: a block of the product lives in cache while it is searched, and nothing of size V ×
// V is ever stored.
//
//   TokenTable ov = ov_table(head, vocabulary);           // source × output
//   for (const TokenPair& p : top_pairs(ov, 20)) ...      // the largest entries
//
// A table is a product of a tall and a wide matrix: entry (row, column) = left[row] · right[column]. Entries are f32 products
// with the same bits for any number of threads; equal entries are ordered by row, then column.
#pragma once

#include <cstdint>
#include <vector>

#include "microtome/base/progress.h"
#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/circuits/algebra/vocabulary.h"

namespace microtome::algebra {

struct TokenTable {
  Tensor left;                       // [V, K]
  PackedPlain right;                 // [K, V]
  const Progress* cancel = nullptr;  // asked between blocks: the vocabulary's, which must outlive the table
  int64_t rows() const { return left.size(0); }
  int64_t cols() const { return right.view.n; }
};

// W_E OV W_U: rows are sources, columns outputs; each row's mean is 0 (W_U is centred over the vocabulary).
TokenTable ov_table(const HeadWeights& head, const Vocabulary& vocabulary);

// [W_E, 1] QK [W_E, 1]ᵀ times the scale of scores: rows are sources (keys), columns destinations (queries). `centred`: without
// each destination's mean over all sources, which softmax does not see; what is left is how much more than another token it
// attends to the source.
TokenTable qk_table(const HeadWeights& head, const Vocabulary& vocabulary, bool centred);

struct TokenPair {
  int32_t row = 0, column = 0;
  float value = 0;
};

// The n largest entries, largest first; of fewer rows where `rows` is not empty.
std::vector<TokenPair> top_pairs(const TokenTable& table, int64_t n, const std::vector<int32_t>& rows = {},
                                 Progress* progress = nullptr);

// The k largest of every row, largest first: [rows, k]. Fewer columns than k: the rest has column -1.
std::vector<TokenPair> top_of_rows(const TokenTable& table, int64_t k, Progress* progress = nullptr);

// Share of the rows whose own column is among their k largest: tokens that raise (or attend to) themselves.
double share_with_own(const TokenTable& table, int64_t k, Progress* progress = nullptr);

// Skip-trigram [source] … [destination] → output: having seen the source, the destination attends back to it and the head raises
// the output.
struct SkipTrigram {
  int32_t source = 0, destination = 0, output = 0;
  double qk = 0;     // centred score, see qk_table
  double ov = 0;     // logit
  double score = 0;  // qk · ov
  // Forced: both tables factor through the source, so (a, c) and (a', c') with the same source make (a, c') and (a', c) come
  // too. True where two stronger rows of the list, one with this destination and one with this output, leave no choice.
  bool forced = false;
  int32_t forced_output = -1, forced_destination = -1;  // what those rows have in place of this row's
};

struct SkipTrigramOptions {
  int64_t per_source = 4;  // destinations and outputs looked at for each source
  int64_t top = 20;
};
// By falling score; only those whose qk and ov are both positive.
std::vector<SkipTrigram> skip_trigrams(const HeadWeights& head, const Vocabulary& vocabulary, const SkipTrigramOptions& options,
                                       Progress* progress = nullptr);

// softmax(W_E W_U): what a model of zero layers says next. `sources` empty: all tokens. The `top` most probable pairs, and at
// most `per_source` of one source (0: no bound).
struct Bigram {
  int32_t source = 0, target = 0;
  double logprob = 0;
};
struct BigramOptions {
  std::vector<int32_t> sources;
  int64_t per_source = 0, top = 20;
};
std::vector<Bigram> bigrams(const Vocabulary& vocabulary, const BigramOptions& options, Progress* progress = nullptr);

}  // namespace microtome::algebra
