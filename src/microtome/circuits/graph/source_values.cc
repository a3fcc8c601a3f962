#include "microtome/circuits/graph/source_values.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "microtome/base/error.h"
#include "microtome/base/threads.h"
#include "microtome/ops/linear.h"

namespace microtome {

int64_t first_row(const Example& e, const Metric& metric, AblationKind ablation) {
  if (ablation != AblationKind::kResample) return 0;
  const auto differ = std::mismatch(e.clean.begin(), e.clean.end(), e.corrupted.begin()).first - e.clean.begin();
  const std::vector<int32_t> read = metric.positions(e);
  return std::min<int64_t>(differ, read.empty() ? differ : read[0]);
}

Group make_group(const Model& model, const std::vector<Example>& examples, std::span<const size_t> chosen, const Metric& metric,
                 AblationKind ablation) {
  Group group;
  Batch batch;
  std::vector<std::shared_ptr<KvCache>> caches;
  for (const size_t i : chosen) {
    const Example& e = examples[i];
    GroupExample& g = group.examples.emplace_back();
    g.example = &e;
    g.index = i;
    g.start = first_row(e, metric, ablation);
    g.row_begin = group.rows;
    g.row_end = group.rows += e.length() - g.start;
    if (g.start == 0) continue;
    caches.push_back(std::make_shared<KvCache>(model.make_cache()));
    batch.add_sequence(std::span(e.clean).first(g.start), caches.back().get());
    g.prefix = caches.back();
  }
  if (caches.empty()) return group;
  Plan plan;
  plan.logit_rows = LogitRows::kNone;
  forward(model, {.batch = batch, .plan = &plan});
  return group;
}

void read_sources(Plan& plan, const Config& config, StreamValues& values) {
  const auto keep = [&plan](Site site, Tensor& where) { plan.read(site, [&where](const SiteValue& v) { where = v.data; }); };
  values.z.resize(config.n_layers);
  values.mlp.resize(config.mlp ? config.n_layers : 0);
  keep({SiteKind::kResidPre, 0}, values.input);
  for (int l = 0; l < config.n_layers; ++l) {
    keep({SiteKind::kZ, l}, values.z[l]);
    if (config.mlp) keep({SiteKind::kMlpOut, l}, values.mlp[l]);
  }
}

void read_streams(Plan& plan, const Config& config, StreamValues& values) {
  const auto keep = [&plan](Site site, Tensor& where) { plan.read(site, [&where](const SiteValue& v) { where = v.data; }); };
  values.attention_in.resize(config.n_layers);
  values.mlp_in.resize(config.mlp ? config.n_layers : 0);
  for (int l = 0; l < config.n_layers; ++l) {
    keep({SiteKind::kResidPre, l}, values.attention_in[l]);
    if (config.mlp) keep({SiteKind::kMlpIn, l}, values.mlp_in[l]);
  }
  keep({SiteKind::kResidPost, static_cast<int>(config.n_layers) - 1}, values.logits_in);
}

// --- logits that a metric reads
// -------------------------------------------------------------------------------------------------

void MetricRows::add(const Example& example, int64_t start, int64_t row_begin) {
  const std::vector<int32_t> positions = metric_.positions(example);
  entries_.push_back({&example, std::ssize(rows_), std::ssize(positions)});
  for (const int32_t p : positions) rows_.push_back(static_cast<int32_t>(row_begin + p - start));
  for (const int32_t c : metric_.columns(example)) {
    const auto at = std::lower_bound(columns_.begin(), columns_.end(), c);
    if (at == columns_.end() || *at != c) columns_.insert(at, c);
  }
}

void MetricRows::apply(Plan& plan) const {
  plan.logit_rows = LogitRows::kChosen;
  plan.chosen_rows = rows_;
  plan.logit_columns = columns_;
}

Tensor MetricRows::take(size_t i, const Tensor& logits) const {
  const Entry& e = entries_[i];
  if (columns_.empty()) return logits.slice(e.first, e.first + e.count);
  const std::vector<int32_t> own = metric_.columns(*e.example);
  Tensor out = Tensor::empty({e.count, std::ssize(own)});
  for (int64_t r = 0; r < e.count; ++r)
    for (size_t c = 0; c < own.size(); ++c) {
      const auto at = std::lower_bound(columns_.begin(), columns_.end(), own[c]) - columns_.begin();
      out.f32()[r * std::ssize(own) + static_cast<int64_t>(c)] = logits.f32()[(e.first + r) * std::ssize(columns_) + at];
    }
  return out;
}

void MetricRows::put(size_t i, const Tensor& gradient, float factor, Tensor& seed) const {
  const Entry& e = entries_[i];
  const int64_t width = seed.size(-1);
  const std::vector<int32_t> own = metric_.columns(*e.example);
  for (int64_t r = 0; r < e.count; ++r)
    for (int64_t c = 0; c < gradient.size(-1); ++c) {
      const int64_t at = columns_.empty() ? c : std::lower_bound(columns_.begin(), columns_.end(), own[c]) - columns_.begin();
      seed.f32()[(e.first + r) * width + at] += factor * gradient.f32()[r * gradient.size(-1) + c];
    }
}

// --- runs
// -----------------------------------------------------------------------------------------------------------------------

GroupRun run_group(const Model& model, const Group& group, const Metric& metric, bool corrupted, bool streams, int64_t* macs,
                   const Progress* progress) {
  GroupRun run;
  Batch batch;
  std::vector<std::unique_ptr<KvCache>> caches;
  MetricRows wanted(metric);
  for (const GroupExample& g : group.examples) {
    KvCache* cache = nullptr;
    if (g.prefix) cache = caches.emplace_back(std::make_unique<KvCache>(g.prefix->fork())).get();
    const std::vector<int32_t>& ids = corrupted ? g.example->corrupted : g.example->clean;
    batch.add_sequence(std::span(ids).subspan(g.start), cache, g.start);
    wanted.add(*g.example, g.start, g.row_begin);
  }
  Plan plan;
  wanted.apply(plan);
  read_sources(plan, model.config(), run.values);
  if (streams) read_streams(plan, model.config(), run.values);
  const Forward out = forward(model, {.batch = batch, .plan = &plan, .progress = progress, .macs = macs});
  for (size_t i = 0; i < group.examples.size(); ++i) run.logits.push_back(wanted.take(i, out.logits.data));
  return run;
}

// --- ablation
// -------------------------------------------------------------------------------------------------------------------

namespace {

// Rows run at a time where means are taken.
constexpr int64_t kMeanRows = 512;

float to_bf16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  bits += 0x7fff + (bits >> 16 & 1);
  return std::bit_cast<float>(bits & 0xffff0000u);
}

}  // namespace

// Sums over reference positions, [T or 1][D + L (H K + D)]: of all (mean), or of each group and length (mean-position).
struct Ablator::Means {
  struct Entry {
    std::vector<double> sum;
    std::vector<int64_t> count;
  };
  std::map<std::pair<std::string, int64_t>, Entry> entries;
  std::vector<std::string> groups;  // of each example

  std::pair<std::string, int64_t> key(AblationKind kind, const std::string& group, int64_t length) const {
    return kind == AblationKind::kMean ? std::pair<std::string, int64_t>{"", 1} : std::pair{group, length};
  }
  std::string group_of(size_t example) const { return example < groups.size() ? groups[example] : ""; }
};

namespace {

// fn(offset in an entry's row, values [rows, width])
template <class Fn>
void each_source_tensor(const StreamValues& v, Fn&& fn) {
  int64_t offset = 0;
  const auto one = [&](const Tensor& t) {
    fn(offset, t);
    offset += t.row_size();
  };
  one(v.input);
  for (const Tensor& t : v.z) one(t);
  for (const Tensor& t : v.mlp) one(t);
}

int64_t source_width(const Config& c) { return c.d_model + c.n_layers * (c.n_heads * c.d_head + (c.mlp ? c.d_model : 0)); }

// What receivers read when every source has the given value, layer by layer.
void add_streams(const Model& model, StreamValues& v) {
  const Config& c = model.config();
  const OpContext ctx = model.context();
  const auto sum = [&](const Tensor& a, const Tensor& b) {
    Tensor y = Tensor::empty(a.shape(), ctx.arena);
    ctx.kernels.add(a.numel(), a.f32(), b.f32(), y.f32());
    return y;
  };
  Tensor stream = v.input;
  for (int64_t l = 0; l < c.n_layers; ++l) {
    const LayerWeights& w = model.weights().layers[l];
    v.attention_in.push_back(stream);
    const Tensor out = Linear::forward(ctx, {w.w_o.view, model.compute()}, {v.z[l], {}, w.b_o.data}, nullptr);
    const Tensor mid = sum(stream, out);
    if (c.mlp) v.mlp_in.push_back(c.parallel ? stream : mid);
    stream = c.mlp ? sum(mid, v.mlp[l]) : mid;
  }
  v.logits_in = stream;
}

}  // namespace

Ablator::Ablator(const Model& model, const Ablation& ablation, const std::vector<Example>& examples, Progress* progress)
    : model_(model), kind_(ablation.kind) {
  if (kind_ != AblationKind::kMean && kind_ != AblationKind::kMeanPosition) return;
  means_ = std::make_unique<Means>();
  means_->groups = ablation.groups;
  std::vector<const std::vector<int32_t>*> prompts;
  for (const auto& r : ablation.references) prompts.push_back(&r);
  if (prompts.empty())
    for (const Example& e : examples) prompts.push_back(&e.corrupted);
  const bool aligned = prompts.size() == ablation.groups.size();
  const int64_t width = source_width(model.config());
  for (size_t begin = 0, end = 0; begin < prompts.size(); begin = end) {
    Batch batch;
    while (end < prompts.size() && (end == begin || batch.rows() + std::ssize(*prompts[end]) <= kMeanRows))
      batch.add_sequence(*prompts[end++]);
    Plan plan;
    plan.logit_rows = LogitRows::kNone;
    StreamValues values;
    read_sources(plan, model.config(), values);
    forward(model, {.batch = batch, .plan = &plan, .progress = progress});
    for (size_t i = begin; i < end; ++i) {
      const Sequence& s = batch.sequences[i - begin];
      const int64_t rows = s.row_end - s.row_begin;
      Means::Entry& entry = means_->entries[means_->key(kind_, aligned ? ablation.groups[i] : "", rows)];
      const int64_t slots = kind_ == AblationKind::kMean ? 1 : rows;
      if (entry.sum.empty()) {
        entry.sum.assign(slots * width, 0.0);
        entry.count.assign(slots, 0);
      }
      for (int64_t r = 0; r < rows; ++r) ++entry.count[slots == 1 ? 0 : r];
      each_source_tensor(values, [&](int64_t offset, const Tensor& t) {
        const int64_t w = t.row_size();
        for (int64_t r = 0; r < rows; ++r) {
          double* to = entry.sum.data() + (slots == 1 ? 0 : r) * width + offset;
          const float* from = t.f32() + (s.row_begin + r) * w;
          for (int64_t k = 0; k < w; ++k) to[k] += from[k];
        }
      });
    }
  }
  if (!aligned) means_->groups.clear();
}

Ablator::~Ablator() = default;

GroupRun Ablator::values(const Group& group, const Metric& metric, bool streams, int64_t* macs, const Progress* progress) const {
  if (kind_ == AblationKind::kResample) return run_group(model_, group, metric, true, streams, macs, progress);
  const Config& c = model_.config();
  GroupRun run;
  StreamValues& v = run.values;
  v.input = Tensor::zeros({group.rows, c.d_model}, model_.arena());
  for (int64_t l = 0; l < c.n_layers; ++l) {
    v.z.push_back(Tensor::zeros({group.rows, c.n_heads, c.d_head}, model_.arena()));
    if (c.mlp) v.mlp.push_back(Tensor::zeros({group.rows, c.d_model}, model_.arena()));
  }
  const int64_t width = source_width(c);
  if (means_)
    for (const GroupExample& g : group.examples) {
      const auto entry = means_->entries.find(means_->key(kind_, means_->group_of(g.index), g.example->length()));
      if (entry == means_->entries.end())
        throw Error(ErrorKind::kInvalidArgument,
                    "ablation mean-position: no reference prompt of the template of prompt {} has its {} tokens; use mean, or "
                    "prompts of one length",
                    g.index, g.example->length());
      const Means::Entry& m = entry->second;
      each_source_tensor(v, [&](int64_t offset, const Tensor& t) {
        const int64_t w = t.row_size();
        float* to = Tensor(t).f32() + g.row_begin * w;
        for (int64_t r = 0; r < g.rows(); ++r) {
          const int64_t slot = m.count.size() == 1 ? 0 : g.start + r;
          const double* from = m.sum.data() + slot * width + offset;
          for (int64_t k = 0; k < w; ++k) to[r * w + k] = static_cast<float>(from[k] / static_cast<double>(m.count[slot]));
        }
      });
    }
  if (streams) add_streams(model_, v);
  return run;
}

// --- heads
// ----------------------------------------------------------------------------------------------------------------------

HeadOutputs::HeadOutputs(const Model& model, int64_t layer) : model_(model) {
  const PackedView& w = model.weights().layers[layer].w_o.view;
  w_ = Tensor::empty({w.k, w.n}, model.arena());
  model.context().kernels.unpack(w, 0, w.n, w.n, 1, w_.f32());
}

void HeadOutputs::differences(const Tensor& a, const Tensor& b, std::span<const int32_t> b_rows, float* out) const {
  const int64_t rows = a.size(0), heads = a.size(1), width = a.size(2), d = w_.size(1);
  const bool round = model_.compute() == Compute::kBF16;
  Tensor delta = Tensor::empty({heads, rows, width}, model_.arena());
  parallel_for(rows, 8, [&](int64_t r0, int64_t r1) {
    for (int64_t r = r0; r < r1; ++r)
      for (int64_t h = 0; h < heads; ++h) {
        const float* x = a.f32() + (r * heads + h) * width;
        const float* y = b.f32() + ((b_rows.empty() ? r : b_rows[r]) * heads + h) * width;
        float* to = delta.f32() + (h * rows + r) * width;
        for (int64_t k = 0; k < width; ++k) {
          to[k] = round ? to_bf16(x[k]) - to_bf16(y[k]) : x[k] - y[k];
        }
      }
  });
  for (int64_t h = 0; h < heads; ++h)
    model_.context().kernels.gemm_plain(delta.f32() + h * rows * width, w_.f32() + h * width * d, out + h * rows * d, rows, width,
                                        d);
}

}  // namespace microtome
