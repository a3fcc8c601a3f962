#include "microtome/circuits/heads/attention_scores.h"

#include <map>

#include "microtome/base/error.h"

namespace microtome::heads {
namespace {

enum List { kColumn0, kDiagonal, kPreviousCells, kDuplicateCells, kInductionCells, kKept };
constexpr double kSinkShare = 0.3;

// For each position the earlier positions of the same token, rising.
std::vector<std::vector<int32_t>> earlier_occurrences(const std::vector<int32_t>& ids) {
  std::map<int32_t, std::vector<int32_t>> seen;
  std::vector<std::vector<int32_t>> out;
  for (size_t i = 0; i < ids.size(); ++i) {
    std::vector<int32_t>& at = seen[ids[i]];
    out.push_back(at);
    at.push_back(static_cast<int32_t>(i));
  }
  return out;
}

// mass [rows, H, width] of every layer -> fn(layer, mass).
void run_fused(const Model& model, const ProbeText& text, std::shared_ptr<const KeyLists> lists, const Progress* progress,
               const Plan* edits, const MassSink& sink) {
  Plan plan = edited_plan(edits);
  plan.logit_rows = LogitRows::kNone;
  plan.attention_mass(std::move(lists), sink);
  Batch batch;
  batch.add_sequence(text.run_as.empty() ? text.ids : text.run_as);
  forward(model, {.batch = batch, .plan = &plan, .progress = progress});
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Sums over the text of one head.
struct HeadSums {
  double total = 0, column0 = 0, diagonal = 0, corner = 0;
  std::array<double, kMassLists + 1> on{};  // of the lists
};

HeadSums sums_of(int64_t rows, int64_t heads, int64_t head, const KeyLists& lists, std::span<const double> mass,
                 std::span<const double> row_sums) {
  HeadSums s;
  for (int64_t i = 0; i < rows; ++i) {
    const double* m = mass.data() + (i * heads + head) * lists.width();
    s.total += row_sums.empty() ? 1.0 : row_sums[i * heads + head];
    for (int list = 0; list < lists.n_lists(); ++list) s.on[list] += m[list];
    if (i == 0) s.corner = m[kColumn0];
  }
  s.column0 = s.on[kColumn0];
  s.diagonal = s.on[kDiagonal];
  return s;
}

}  // namespace

Measure measure_of(const ProbeText& text, const ScoreOptions& o) {
  return o.measure.value_or(text.block > 0 ? Measure::kStripe : Measure::kMul);
}

std::string_view measure_name(Measure measure) {
  return measure == Measure::kMul ? "mul" : measure == Measure::kAbs ? "abs" : "stripe";
}

int mass_lists(const ProbeText& text, const ScoreOptions& o) {
  const bool excludes = (o.exclude_bos || o.exclude_current) && measure_of(text, o) != Measure::kStripe;
  return kMassLists + (excludes ? 1 : 0);
}

void append_lists(const ProbeText& text, const ScoreOptions& o, KeyLists& lists, bool lenient) {
  const Measure measure = measure_of(text, o);
  const bool stripe = measure == Measure::kStripe;
  if (stripe && text.block == 0 && !lenient)
    throw Error(ErrorKind::kInvalidArgument,
                "measure stripe: the text is not a block of tokens repeated, so duplicate and induction have no stripe; give "
                "--repeat N, or --measure mul");
  const auto earlier = stripe ? std::vector<std::vector<int32_t>>() : earlier_occurrences(text.ids);
  for (int32_t i = 0; i < text.length(); ++i) {
    std::vector<std::vector<int32_t>> row(static_cast<size_t>(lists.n_lists()));
    const auto target = [&](List list, int32_t j) {
      const bool excluded = !stripe && ((o.exclude_bos && j == 0) || (o.exclude_current && j == i));
      if (!excluded) row[list].push_back(j);
    };
    row[kColumn0] = {0};
    row[kDiagonal] = {i};
    if (i > 0) target(kPreviousCells, i - 1);
    if (stripe) {
      if (text.block > 0 && i >= text.second()) {
        target(kDuplicateCells, i - static_cast<int32_t>(text.block));
        target(kInductionCells, i - static_cast<int32_t>(text.block) + 1);
      }
    } else {
      for (const int32_t j : earlier[i]) target(kDuplicateCells, j);
      for (const int32_t j : earlier[i]) target(kInductionCells, j + 1);
    }
    if (lists.n_lists() > kMassLists)
      for (int32_t j = 0; j <= i; ++j) target(kKept, j);
    lists.add_row(row);
  }
}

std::vector<AttentionRow> scores_of_mass(const ProbeText& text, const ScoreOptions& o, const KeyLists& lists,
                                         std::span<const double> mass, int64_t heads, std::span<const double> row_sums) {
  const int64_t t = text.length();
  const Measure measure = measure_of(text, o);
  std::array<double, kMassLists> cells{};
  for (int64_t i = 0; i < t; ++i)
    for (int list = 0; list < kMassLists; ++list) cells[list] += static_cast<double>(lists.keys(i, list).size());
  const bool stripe = measure == Measure::kStripe;
  const bool bos = o.exclude_bos && !stripe, current = o.exclude_current && !stripe;
  cells[kDiagonal] = current ? 0 : cells[kDiagonal] - (bos ? 1 : 0);

  std::vector<AttentionRow> out(static_cast<size_t>(heads));
  for (int64_t h = 0; h < heads; ++h) {
    HeadSums s = sums_of(t, heads, h, lists, mass, row_sums);
    const double kept = lists.n_lists() > kMassLists ? s.on[kKept] : s.total;
    s.on[kDiagonal] = current ? 0 : s.diagonal - (bos ? s.corner : 0);
    const auto score = [&](List list) {
      if (stripe) return ratio(s.on[list], cells[list]);
      if (measure == Measure::kMul) return ratio(s.on[list], kept);
      return 1 - (kept - 2 * s.on[list] + cells[list]) / static_cast<double>(t);
    };
    out[h] = {score(kPreviousCells), score(kDiagonal), score(kDuplicateCells), score(kInductionCells),
              s.column0 / static_cast<double>(t)};
  }
  return out;
}

AttentionScores attention_scores(const Model& model, std::span<const ProbeText> texts, const ScoreOptions& o, Progress* progress,
                                 bool entropy, bool lenient) {
  const int64_t heads = model.config().n_heads, layers = model.config().n_layers;
  AttentionScores out;
  out.mean.resize(static_cast<size_t>(layers * heads));
  out.sink_share.resize(out.mean.size());
  if (entropy) out.entropy.resize(out.mean.size());
  const double share = 1.0 / static_cast<double>(texts.size());
  if (progress) progress->begin("heads", static_cast<double>(texts.size()));
  for (const ProbeText& text : texts) {
    auto lists = std::make_shared<KeyLists>(mass_lists(text, o), entropy);
    append_lists(text, o, *lists, lenient);
    run_fused(model, text, lists, progress, o.edits, [&](int layer, std::span<const double> mass) {
      const auto scores = scores_of_mass(text, o, *lists, mass, heads);
      for (int64_t h = 0; h < heads; ++h) {
        const size_t at = static_cast<size_t>(layer * heads + h);
        for (size_t d = 0; d < scores[h].size(); ++d) out.mean[at][d] += share * scores[h][d];
        out.sink_share[at] += scores[h][static_cast<size_t>(Detector::kSink)] > kSinkShare ? share : 0;
        if (!entropy) continue;
        double sum = 0;
        for (int64_t i = 0; i < text.length(); ++i) sum += mass[(i * heads + h) * lists->width() + lists->n_lists()];
        out.entropy[at] += share * sum / static_cast<double>(text.length());
      }
    });
    if (progress) progress->step();
  }
  if (progress) progress->end();
  return out;
}

std::vector<AttentionRow> attention_scores(const Tensor& pattern, const ProbeText& text, const ScoreOptions& o, bool lenient) {
  const int64_t heads = pattern.size(0), t = text.length();
  MT_CHECK_EQ(pattern.size(1), t);
  MT_CHECK_EQ(pattern.size(2), t);
  KeyLists lists(mass_lists(text, o));
  append_lists(text, o, lists, lenient);
  std::vector<double> mass(static_cast<size_t>(t * heads * lists.width())), sums(static_cast<size_t>(t * heads));
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < t; ++i) {
      const float* row = pattern.f32() + (h * t + i) * t;
      lists.sum(i, row, 0, t, mass.data() + (i * heads + h) * lists.width());
      double sum = 0;
      for (int64_t j = 0; j < t; ++j) sum += row[j];
      sums[i * heads + h] = sum;
    }
  return scores_of_mass(text, o, lists, mass, heads, sums);
}

AttentionRow uniform_scores(const ProbeText& text, const ScoreOptions& o, bool lenient) {
  KeyLists lists(mass_lists(text, o));
  append_lists(text, o, lists, lenient);
  std::vector<double> mass;
  for (int64_t i = 0; i < text.length(); ++i)
    for (int list = 0; list < lists.n_lists(); ++list)
      mass.push_back(static_cast<double>(lists.keys(i, list).size()) / static_cast<double>(i + 1));
  return scores_of_mass(text, o, lists, mass, 1)[0];
}

std::vector<double> mean_mass(const Model& model, std::span<const ProbeText> texts, const KeysOf& keys, Progress* progress,
                              const Plan* edits) {
  const int64_t heads = model.config().n_heads;
  std::vector<double> total(static_cast<size_t>(model.config().n_layers * heads));
  int64_t queries = 0;
  for (const ProbeText& text : texts) {
    auto lists = std::make_shared<KeyLists>(1);
    std::vector<int64_t> counted;
    for (int64_t i = 0; i < text.length(); ++i) {
      lists->add_row({keys(text, i)});
      if (!lists->keys(i, 0).empty()) counted.push_back(i);
    }
    queries += std::ssize(counted);
    run_fused(model, text, lists, progress, edits, [&](int layer, std::span<const double> mass) {
      for (int64_t h = 0; h < heads; ++h)
        for (const int64_t i : counted) total[layer * heads + h] += mass[i * heads + h];
    });
  }
  for (double& x : total) x = ratio(x, static_cast<double>(queries));
  return total;
}

}  // namespace microtome::heads
