// The QK fix of AtP*: queries and keys act through a softmax that saturates, so its change is computed, not differentiated.
//
//   QkFix fix(runs, example, {SiteKind::kQ, 5}, new_queries, pattern_gradient);
//   double score = fix.score(cell);            // sum over rows and keys of (A' - A) dM/dA
//
// A key/value head's keys change the patterns of its whole group. One thread.
#pragma once

#include "microtome/circuits/patching/cells.h"
#include "microtome/circuits/patching/runs.h"

namespace microtome {

class QkFix {
 public:
  // `site` is q or k; `replaced` all its new values [T, H or H_kv, d]; `gradient` dM/dA [H, T, T] (undefined: none reaches it).
  QkFix(PatchRuns& runs, size_t example, Site site, const Tensor& replaced, const Tensor& gradient);

  // For the cell's head (all of them where it names none), its position alone or all positions at once.
  double score(const Cell& cell) const;

 private:
  // Scores q·k * scale of one query head, [T, T], with new queries or keys where asked for.
  std::vector<double> scores_of(const Tensor& q, const Tensor& k, int64_t head) const;
  double head_score(int64_t head, const std::optional<int64_t>& pos) const;

  bool keys_;
  int64_t length_, heads_, group_;
  std::vector<std::vector<double>> before_, after_;  // by query head
  Tensor gradient_;
};

}  // namespace microtome
