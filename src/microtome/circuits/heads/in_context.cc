#include "microtome/circuits/heads/in_context.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/threads.h"
#include "microtome/circuits/algebra/head_weights.h"
#include "microtome/circuits/heads/attention_scores.h"
#include "microtome/circuits/heads/token_maps.h"
#include "microtome/kernels/gemm.h"
#include "microtome/model/loss.h"

namespace microtome::heads {
namespace {

constexpr int64_t kLogitRows = 128;
constexpr double kTrim = 0.05;
constexpr int64_t kLeastBlock = 3;

// Tokens of a block that `times` fit into the context.
int64_t fitting_block(const Model& model, const OlssonOptions& o, int64_t times) {
  return std::min(o.block, (model.config().context - 1) / times);
}

// Mean over the vocabulary of γ ⊙ W_U[:, t].
std::vector<double> mean_unembed_row(const Model& model) {
  const int64_t v = model.config().vocab, d = model.config().d_model;
  constexpr int64_t kAtOnce = 1024;
  std::vector<double> mean(static_cast<size_t>(d));
  for (int64_t begin = 0; begin < v; begin += kAtOnce) {
    std::vector<float> rows(static_cast<size_t>((std::min(v, begin + kAtOnce) - begin) * d));
    unpack(model.weights().unembed.view, begin, std::min(v, begin + kAtOnce), 1, d, rows.data());
    for (size_t i = 0; i < rows.size(); ++i) mean[i % static_cast<size_t>(d)] += rows[i];
  }
  const Vector& gamma = model.weights().final_norm.gamma;
  for (int64_t j = 0; j < d; ++j)
    mean[j] *= (model.config().final_norm && gamma.present() ? gamma.data.f32()[j] : 1.0) / static_cast<double>(v);
  return mean;
}

// Raise of the attended token and of all, of one head on one text.
struct Raises {
  double attended = 0, all = 0;
};

Raises raises_of(const algebra::HeadWeights& h, const float* z, int64_t stride, const float* pattern, int64_t t,
                 const std::vector<float>& columns) {
  std::vector<float> own(static_cast<size_t>(t * h.k)), written(static_cast<size_t>(t * h.d));
  for (int64_t i = 0; i < t; ++i)
    for (int64_t k = 0; k < h.k; ++k) own[i * h.k + k] = z[i * stride + k] - h.b_v[k];
  gemm_plain(own.data(), h.w_o.data(), written.data(), t, h.k, h.d);
  Raises out;
  for (int64_t i = 0; i < t; ++i) {
    const float* row = pattern + i * t;
    const int64_t attended = std::max_element(row, row + i + 1) - row;
    for (int64_t j = 0; j < t; ++j) {
      double logit = 0;
      for (int64_t c = 0; c < h.d; ++c) logit += static_cast<double>(written[i * h.d + c]) * columns[j * h.d + c];
      if (logit <= 0) continue;
      out.all += logit;
      if (j == attended) out.attended += logit;
    }
  }
  return out;
}

}  // namespace

std::vector<double> token_losses(const Model& model, const std::vector<int32_t>& ids, const Progress* progress,
                                 const Plan* edits) {
  const TextRun run(model, ids, edited_plan(edits), progress);
  std::vector<double> out;
  const auto n = static_cast<int64_t>(ids.size()) - 1;
  for (int64_t begin = 0; begin < n; begin += kLogitRows) {
    const int64_t end = std::min(n, begin + kLogitRows);
    const std::vector<int32_t> targets(ids.begin() + begin + 1, ids.begin() + end + 1);
    const std::vector<double> part = row_losses(model, run.logits(begin, end), targets);
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

std::optional<double> icl_score(const std::vector<std::vector<double>>& losses) {
  double total = 0;
  for (const std::vector<double>& text : losses) {
    const auto n = std::ssize(text);
    if (n < 15) return {};
    const double scale = std::min(1.0, static_cast<double>(n + 1) / 512);
    const auto around = [&](int64_t token) {
      const auto at = std::min<int64_t>(std::llround(static_cast<double>(token) * scale), n - 1);
      const int64_t reach = std::min<int64_t>(n, 511) / 64, begin = std::max<int64_t>(0, at - reach),
                    end = std::min<int64_t>(n, at + reach + 1);
      double sum = 0;
      for (int64_t i = begin; i < end; ++i) sum += text[i];
      return sum / static_cast<double>(end - begin);
    };
    total += around(500) - around(50);
  }
  if (losses.empty()) return {};
  return total / static_cast<double>(losses.size());
}

std::vector<double> prefix_matching(const Model& model, const OlssonOptions& o, Progress* progress) {
  const int64_t block = fitting_block(model, o, o.times);
  if (block < kLeastBlock) return {};
  std::vector<ProbeText> texts;
  for (int64_t i = 0; i < o.texts; ++i)
    texts.push_back(random_text(model, {.block = block,
                                        .times = o.times,
                                        .seed = o.seed,
                                        .purpose = "heads.prefix",
                                        .index = static_cast<uint64_t>(i),
                                        .bos = true,
                                        .trim = kTrim}));
  if (progress) progress->begin("prefix matching", static_cast<double>(texts.size()));
  const auto followers = [&](const ProbeText& text, int64_t query) {
    std::vector<int32_t> keys;
    if (query == 0 && progress) progress->step();
    if (query >= text.second())
      for (int64_t j = text.start; j < query; ++j)
        if (text.ids[j] == text.ids[query]) keys.push_back(static_cast<int32_t>(j + 1));
    return keys;
  };
  auto out = mean_mass(model, texts, followers, progress, o.edits);
  if (progress) progress->end();
  return out;
}

std::vector<double> attended_copying(const Model& model, const OlssonOptions& o, Progress* progress) {
  const int64_t block = fitting_block(model, o, 1), heads = model.config().n_heads, width = model.config().d_head;
  if (block < kLeastBlock) return {};
  const auto weights = algebra::read_heads(model);
  const std::vector<double> mean = mean_unembed_row(model);
  std::vector<Raises> total(weights.size());
  if (progress) progress->begin("copying of attended tokens", static_cast<double>(o.texts));
  for (int64_t index = 0; index < o.texts; ++index) {
    const ProbeText text = random_text(model, {.block = block,
                                               .times = 1,
                                               .seed = o.seed,
                                               .purpose = "heads.copying",
                                               .index = static_cast<uint64_t>(index),
                                               .distinct = true,
                                               .trim = kTrim});
    const int64_t t = text.length(), d = model.config().d_model;
    std::vector<float> columns = unembed_rows(model, text.ids);
    for (int64_t i = 0; i < t * d; ++i) columns[i] -= static_cast<float>(mean[i % d]);
    Tensor z;
    std::vector<Tensor> pattern(model.config().n_layers);
    Plan plan = edited_plan(o.edits);
    plan.logit_rows = LogitRows::kNone;
    for (int l = 0; l < model.config().n_layers; ++l) {
      plan.read({SiteKind::kPattern, l}, [&, l](const SiteValue& v) { pattern[l] = v.data.clone(); });
      plan.read({SiteKind::kZ, l}, [&, l](const SiteValue& v) {
        parallel_for(heads, 1, [&](int64_t begin, int64_t end) {
          for (int64_t h = begin; h < end; ++h) {
            const Raises r = raises_of(weights[l * heads + h], v.data.f32() + h * width, heads * width,
                                       pattern[l].f32() + h * t * t, t, columns);
            total[l * heads + h].attended += r.attended;
            total[l * heads + h].all += r.all;
          }
        });
      });
    }
    Batch batch;
    batch.add_sequence(text.ids);
    forward(model, {.batch = batch, .plan = &plan, .progress = progress});
    if (progress) progress->step();
  }
  if (progress) progress->end();
  std::vector<double> out;
  for (const Raises& r : total) out.push_back(r.all > 0 ? r.attended / r.all : 0);
  return out;
}

}  // namespace microtome::heads
