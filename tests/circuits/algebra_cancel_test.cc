// Cancelled work on weights ends at once, wherever it is asked to.
#include <gtest/gtest.h>

#include "algebra_support.h"
#include "microtome/base/error.h"
#include "microtome/circuits/algebra/induction.h"
#include "microtome/circuits/algebra/token_tables.h"

namespace microtome::algebra {
namespace {

constexpr int64_t kD = 32, kK = 8, kV = 300;

template <class Fn>
void expect_cancelled(const char* what, Fn&& fn) {
  try {
    fn();
    ADD_FAILURE() << what << " went on";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCancelled) << what;
  }
}

// Everything once with a progress that is not cancelled (nothing throws), once with one that is.
class CancelledWeights : public ::testing::Test {
 protected:
  Vocabulary vocabulary(const Progress* progress) const {
    return {gaussians(kV * kD, 1, 0), gaussians(kV * kD, 1, 1), kV, kD, progress};
  }
  const std::vector<HeadWeights> heads_ = random_heads(2, 2, kD, kK, 3);
};

TEST_F(CancelledWeights, scores_of_heads_and_pairs) {
  const Vocabulary v = vocabulary(nullptr);
  const MatrixF64 gram = v.gram_copying();
  const CompositionKind kinds[] = {CompositionKind::kQ};
  const std::vector<double> previous(heads_.size(), 1.0);
  const auto all = [&](Progress* p, auto&& each) {
    each("copying", [&, p] { copying(heads_, gram, p); });
    each("matching", [&, p] { matching(heads_, v.gram_matching(), p); });
    each("composition", [&, p] { composition(heads_, heads_, kinds, p); });
    each("baseline", [&, p] { composition_baseline(kD, kK, {.pairs = 3}, p); });
    each("induction", [&, p] { induction(heads_, previous, gram, gram, p); });
  };
  Progress going, cancelled;
  cancelled.cancel();
  all(&going, [](const char*, auto&& fn) { EXPECT_NO_THROW(fn()); });
  all(&cancelled, [](const char* what, auto&& fn) { expect_cancelled(what, fn); });
}

TEST_F(CancelledWeights, tables_ask_the_progress_of_their_vocabulary) {
  Progress progress;
  const Vocabulary v = vocabulary(&progress);
  const TokenTable ov = ov_table(heads_[0], v), qk = qk_table(heads_[0], v, true);
  EXPECT_EQ(top_pairs(ov, 5).size(), 5u);
  progress.cancel();
  expect_cancelled("top_pairs", [&] { top_pairs(ov, 5); });
  expect_cancelled("top_of_rows", [&] { top_of_rows(qk, 2); });
  expect_cancelled("share_with_own", [&] { share_with_own(ov, 2); });
  expect_cancelled("ov_table", [&] { ov_table(heads_[0], v); });
  expect_cancelled("gram_copying", [&] { v.gram_copying(); });
  expect_cancelled("gram_matching", [&] { v.gram_matching(); });
}

}  // namespace
}  // namespace microtome::algebra
