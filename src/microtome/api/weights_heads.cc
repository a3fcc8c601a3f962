// Verbs of `weights` about heads: copying, matching, composition, virtual heads, induction.
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/weights_verbs.h"
#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/induction.h"
#include "microtome/circuits/algebra/spectra.h"
#include "microtome/circuits/algebra/token_tables.h"

namespace microtome::api {
namespace {

using namespace algebra;  // NOLINT(google-build-using-namespace): this file is about nothing else

bool holds(const std::vector<HeadId>& list, const HeadId& id) { return std::find(list.begin(), list.end(), id) != list.end(); }

Json eigenvalues_json(const std::vector<std::complex<double>>& values) {
  Json out = Json::array();
  for (const auto& v : values) out.push_back({v.real(), v.imag()});
  return out;
}

// Mean and spread of a control's scores.
Json spread(const std::vector<double>& scores) {
  if (scores.empty()) return nullptr;
  double mean = 0, square = 0;
  for (const double s : scores) mean += s / static_cast<double>(scores.size());
  for (const double s : scores) square += (s - mean) * (s - mean);
  const double sd = scores.size() > 1 ? std::sqrt(square / static_cast<double>(scores.size() - 1)) : 0;
  return {{"draws", scores.size()}, {"mean", mean}, {"sd", sd}};
}

using Spectra = std::vector<HeadSpectrum> (*)(std::span<const HeadWeights>, const MatrixF64&, Progress*);

// The control: scores of `draws` random heads, a few of which are held at a time.
Json null_scores(const Context& c, const WeightsOptions& o, Spectra spectra, const MatrixF64& gram) {
  constexpr int64_t kAtOnce = 16;
  const Config& config = c.model->config();
  std::vector<double> scores;
  if (c.progress) c.progress->begin("random heads", static_cast<double>(o.draws));
  for (int64_t first = 0; first < o.draws; first += kAtOnce) {
    std::vector<HeadWeights> heads(static_cast<size_t>(std::min(kAtOnce, o.draws - first)));
    parallel_for(std::ssize(heads), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if (c.progress) c.progress->check();
        heads[i] = random_head(config.d_model, config.d_head, o.seed, first + i);
      }
    });
    for (const HeadSpectrum& s : spectra(heads, gram, nullptr)) scores.push_back(s.score);
    if (c.progress) c.progress->step(static_cast<double>(heads.size()));
  }
  return spread(scores);
}

Json spectrum_rows(const std::vector<HeadWeights>& heads, std::vector<HeadSpectrum> spectra, const WeightsOptions& o,
                   const std::function<double(const HeadWeights&)>& own_share) {
  std::stable_sort(spectra.begin(), spectra.end(),
                   [](const HeadSpectrum& a, const HeadSpectrum& b) { return a.score > b.score; });
  spectra.resize(rows_wanted(o, std::ssize(spectra), 0));
  Json rows = Json::array();
  for (const HeadSpectrum& s : spectra) {
    Json row{{"layer", s.id.layer}, {"head", s.id.head}, {"score", s.score}, {"magnitude", s.magnitude}, {"trace", s.trace}};
    if (o.own_top > 0)
      row["own_share"] = own_share(*std::find_if(heads.begin(), heads.end(), [&](const HeadWeights& h) { return h.id == s.id; }));
    row["eigenvalues"] = eigenvalues_json(s.eigenvalues);
    rows.push_back(std::move(row));
  }
  return rows;
}

// Pairs whose ends are wanted: `from` and `to` bound one end each, `heads` either.
bool wanted(const WeightsOptions& o, const HeadId& from, const HeadId& to) {
  return (o.from.empty() || holds(o.from, from)) && (o.to.empty() || holds(o.to, to)) &&
         (o.heads.empty() || holds(o.heads, from) || holds(o.heads, to));
}

// The composition scores that are wanted, strongest first.
std::vector<Composition> compositions(const Context& c, const WeightsOptions& o, std::span<const CompositionKind> kinds) {
  const std::vector<HeadWeights> all = read_heads(*c.model, {}, o.offset, c.progress);
  std::vector<HeadWeights> writers, readers;
  for (const HeadWeights& h : all) {
    if (o.from.empty() || holds(o.from, h.id)) writers.push_back(h);
    if (o.to.empty() || holds(o.to, h.id)) readers.push_back(h);
  }
  std::vector<Composition> out = composition(writers, readers, kinds, c.progress);
  std::erase_if(out, [&](const Composition& x) { return !wanted(o, x.from, x.to); });
  std::stable_sort(out.begin(), out.end(), [](const Composition& a, const Composition& b) { return a.score > b.score; });
  return out;
}

}  // namespace

Json copying_rows(const Context& c, const WeightsOptions& o) {
  const Vocabulary vocabulary(*c.model, o.embedding, c.progress);
  const MatrixF64 gram = vocabulary.gram_copying();
  const std::vector<HeadWeights> heads = read_heads(*c.model, o.heads, 0, c.progress);
  Json rows = spectrum_rows(heads, copying(heads, gram, c.progress), o,
                            [&](const HeadWeights& h) { return share_with_own(ov_table(h, vocabulary), o.own_top, c.progress); });
  return {{"null", null_scores(c, o, copying, gram)}, {"rows", std::move(rows)}};
}

Json matching_rows(const Context& c, const WeightsOptions& o) {
  const Vocabulary vocabulary(*c.model, o.embedding, c.progress);
  const MatrixF64 gram = vocabulary.gram_matching();
  const std::vector<HeadWeights> heads = read_heads(*c.model, o.heads, o.offset, c.progress);
  Json rows = spectrum_rows(heads, matching(heads, gram, c.progress), o, [&](const HeadWeights& h) {
    return share_with_own(qk_table(h, vocabulary, false), o.own_top, c.progress);
  });
  return {{"null", null_scores(c, o, matching, gram)}, {"rows", std::move(rows)}};
}

Json composition_rows(const Context& c, const WeightsOptions& o) {
  const Config& config = c.model->config();
  const CompositionBaseline base =
      composition_baseline(config.d_model, config.d_head, {.pairs = o.draws, .seed = o.seed}, c.progress);
  const std::vector<Composition> all = compositions(c, o, o.kinds);
  const int64_t n = rows_wanted(o, std::ssize(all), 0);
  Json rows = Json::array();
  for (int64_t i = 0; i < n; ++i)
    rows.push_back({{"from", head_json(all[i].from)},
                    {"to", head_json(all[i].to)},
                    {"kind", composition_name(all[i].kind)},
                    {"score", all[i].score},
                    {"baseline", base.mean},
                    {"baseline_sd", base.sd},
                    {"excess", all[i].score - base.mean}});
  return {{"pairs", all.size() / o.kinds.size()}, {"baseline_pairs", base.pairs}, {"rows", std::move(rows)}};
}

Json virtual_rows(const Context& c, const WeightsOptions& o) {
  const Config& config = c.model->config();
  const CompositionBaseline base =
      composition_baseline(config.d_model, config.d_head, {.pairs = o.draws, .seed = o.seed}, c.progress);
  const CompositionKind kinds[] = {CompositionKind::kV};
  const std::vector<Composition> all = compositions(c, o, kinds);
  const int64_t n = rows_wanted(o, std::ssize(all), 50);
  const MatrixF64 gram = Vocabulary(*c.model, o.embedding, c.progress).gram_copying();
  Json rows = Json::array();
  if (c.progress) c.progress->begin("virtual heads", static_cast<double>(n));
  for (int64_t i = 0; i < n; ++i) {
    const HeadId ends[] = {all[i].from, all[i].to};
    const std::vector<HeadWeights> heads = read_heads(*c.model, ends);
    const VirtualHead v = virtual_head(heads[0], heads[1], gram);
    rows.push_back({{"from", head_json(v.first)},
                    {"to", head_json(v.second)},
                    {"score", v.composition},
                    {"baseline", base.mean},
                    {"baseline_sd", base.sd},
                    {"copying", v.copying.score},
                    {"magnitude", v.copying.magnitude},
                    {"trace", v.copying.trace},
                    {"eigenvalues", eigenvalues_json(v.copying.eigenvalues)}});
    if (c.progress) c.progress->step();
  }
  return {{"pairs", all.size()}, {"rows", std::move(rows)}};
}

Json induction_rows(const Context& c, const WeightsOptions& o) {
  const Vocabulary vocabulary(*c.model, o.embedding, c.progress);
  const MatrixF64 with_one = vocabulary.gram_matching();
  MatrixF64 gram(with_one.rows - 1, with_one.cols - 1);
  for (int64_t i = 0; i < gram.rows; ++i)
    for (int64_t j = 0; j < gram.cols; ++j) gram(i, j) = with_one(i, j);
  const std::vector<double> previous = previous_token_scores(*c.model, o.seed, c.progress);
  std::vector<InductionScore> all =
      induction(read_heads(*c.model, {}, o.offset, c.progress), previous, gram, vocabulary.gram_copying(), c.progress);
  std::erase_if(all, [&](const InductionScore& s) { return !o.heads.empty() && !holds(o.heads, s.id); });
  all.resize(rows_wanted(o, std::ssize(all), 0));
  Json rows = Json::array();
  for (const InductionScore& s : all)
    rows.push_back({{"layer", s.id.layer},
                    {"head", s.id.head},
                    {"score", s.score},
                    {"copying", s.copying},
                    {"qk_trace", s.qk_trace},
                    {"composition", s.composition},
                    {"via", head_json(s.via)},
                    {"via_previous", s.via_previous}});
  return {{"rows", std::move(rows)}};
}

}  // namespace microtome::api
