#include "microtome/circuits/graph/group_scores.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "microtome/base/threads.h"

namespace microtome {
namespace {

constexpr int64_t kFirstNodes = 5, kMostNodes = 128;
constexpr double kGap = 0.01;
// Metrics closer than this (to their size) count as equal: no gap can be told.
constexpr double kSame = 1e-6;

}  // namespace

GroupScores::GroupScores(const Model& model, const Graph& graph, const Metric& metric, const ScoreOptions& options,
                         const Ablator& ablator, Group group, int64_t pass_rows)
    : model_(model),
      graph_(graph),
      metric_(metric),
      options_(options),
      ablator_(ablator),
      group_(std::move(group)),
      pass_rows_(pass_rows),
      scores_(size(), std::vector<double>(graph.n_edges(), 0.0)),
      clean_metric_(size()),
      ablated_metric_(size()),
      gap_(size(), std::numeric_limits<double>::quiet_NaN()),
      nodes_(size(), 0) {
  for (const GroupExample& g : group_.examples) {
    const std::vector<int32_t> roles = role_of_positions(graph, *g.example);
    contractions_.emplace_back(model, graph, std::vector<int32_t>(roles.begin() + g.start, roles.end()));
  }
}

void GroupScores::run() {
  ablated_ = ablator_.values(group_, metric_, false, nullptr, options_.progress);
  if (options_.method == EdgeMethod::kEap) return eap();
  const bool streams = options_.method == EdgeMethod::kEapIgActivations;
  clean_ = run_group(model_, group_, metric_, false, streams, nullptr, options_.progress);
  fill_deltas(clean_.values);
  find_ends();
  switch (options_.method) {
    case EdgeMethod::kEapIg:
    case EdgeMethod::kCleanCorrupted: return integrated();
    case EdgeMethod::kEapIgActivations: return activations();
    case EdgeMethod::kAtp: return node_scores();
    case EdgeMethod::kEap:
    case EdgeMethod::kExact: break;
  }
}

double GroupScores::input_score(size_t i) const {
  double sum = 0;
  for (int64_t role = 0; role < graph_.n_roles(); ++role)
    for (int64_t v = 0; v < graph_.n_receivers(); ++v) sum += scores_[i][graph_.edge(0, v, role)];
  return sum;
}

// a_u - z_u of every source.
void GroupScores::fill_deltas(const StreamValues& clean) {
  const Config& c = graph_.config();
  const int64_t d = c.d_model, heads = c.n_heads;
  const auto each_row = [&](auto fn) {
    parallel_for(std::ssize(contractions_), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int64_t r = 0; r < contractions_[i].rows(); ++r) fn(contractions_[i].delta(r), group_.examples[i].row_begin + r);
    });
  };
  const auto put = [&](int64_t u, const Tensor& a, const Tensor& z) {
    each_row([&](float* delta, int64_t row) {
      const float *x = a.f32() + row * d, *y = z.f32() + row * d;
      for (int64_t k = 0; k < d; ++k) delta[u * d + k] = x[k] - y[k];
    });
  };
  put(0, ablated_.values.input, clean.input);
  Tensor out = Tensor::empty({heads, group_.rows, d}, model_.arena());
  for (int64_t l = 0; l < c.n_layers; ++l) {
    HeadOutputs(model_, l).differences(ablated_.values.z[l], clean.z[l], {}, out.f32());
    each_row([&](float* delta, int64_t row) {
      for (int64_t h = 0; h < heads; ++h)
        std::memcpy(delta + graph_.head_source(l, h) * d, std::as_const(out).f32() + (h * group_.rows + row) * d,
                    static_cast<size_t>(d) * sizeof(float));
    });
    if (c.mlp) put(graph_.mlp_source(l), ablated_.values.mlp[l], clean.mlp[l]);
  }
}

// The metric at both ends of the input's path.
void GroupScores::find_ends() {
  for (size_t i = 0; i < size(); ++i)
    clean_metric_[i] = metric_.value(*group_.examples[i].example, clean_.logits[i], &clean_.logits[i]);
  if (!ablated_.logits.empty()) {
    for (size_t i = 0; i < size(); ++i)
      ablated_metric_[i] = metric_.value(*group_.examples[i].example, ablated_.logits[i], &clean_.logits[i]);
    return;
  }
  GradientPass pass(model_, graph_, metric_, group_);
  for (size_t i = 0; i < size(); ++i) pass.add(run_of({}, {i, 0, 0}));
  ablated_metric_ = pass.run({.clean_logits = &clean_.logits, .gradients = false, .progress = options_.progress});
}

void GroupScores::eap() {
  StreamValues values;
  std::vector<size_t> all(size());
  std::iota(all.begin(), all.end(), size_t{0});
  for (Contraction& c : contractions_) c.begin(0, graph_.n_sources(), false);
  // The clean run itself is differentiated: its input is the clean prompt's, which the path's end at 1 is.
  clean_.values.input = Tensor::empty({group_.rows, graph_.config().d_model}, model_.arena());
  Batch batch;
  for (const GroupExample& g : group_.examples)
    batch.add_sequence(std::span(g.example->clean).subspan(g.start), nullptr, g.start);
  const Value embedded = Pass(model_, {.batch = batch}).embed();
  std::memcpy(clean_.values.input.f32(), embedded.data.f32(), static_cast<size_t>(embedded.data.numel()) * sizeof(float));
  one_pass({0, graph_.n_sources(), 0, {}}, points(all, std::array{1.0}, std::array{1.0}), &values, true);
  for (size_t i = 0; i < size(); ++i) {
    contractions_[i].finish(scores_[i]);
    nodes_[i] = 1;
  }
}

std::vector<GroupScores::PathPoint> GroupScores::points(std::span<const size_t> examples, std::span<const double> at,
                                                        std::span<const double> weight) const {
  std::vector<PathPoint> out;
  for (const size_t i : examples)
    for (size_t k = 0; k < at.size(); ++k) out.push_back({i, at[k], weight[k]});
  return out;
}

GradientPass::Run GroupScores::run_of(const Between& what, const PathPoint& p) const {
  const GroupExample& g = group_.examples[p.example];
  const int64_t d = graph_.config().d_model, n = g.rows() * d;
  const auto alpha = static_cast<float>(p.at);
  GradientPass::Run run{.example = p.example};
  if (!what.site) {
    run.input = Tensor::empty({g.rows(), d}, model_.arena());
    const float *a = ablated_.values.input.f32() + g.row_begin * d, *z = clean_.values.input.f32() + g.row_begin * d;
    float* x = run.input.f32();
    for (int64_t k = 0; k < n; ++k) x[k] = alpha == 1 ? z[k] : alpha == 0 ? a[k] : a[k] + alpha * (z[k] - a[k]);
    return run;
  }
  run.input = clean_.values.attention_in[what.layer].slice(g.row_begin, g.row_end);
  run.change = Tensor::zeros({g.rows(), d}, model_.arena());
  for (int64_t r = 0; r < g.rows(); ++r)
    for (int64_t u = what.first_source; u < what.last_source; ++u)
      for (int64_t k = 0; k < d; ++k) run.change.f32()[r * d + k] += (1 - alpha) * contractions_[p.example].delta(r)[u * d + k];
  return run;
}

void GroupScores::add_gradients(const GradientPass& pass, std::span<const PathPoint> points, int64_t v, const float* gradient) {
  const int64_t d = graph_.config().d_model;
  // Runs of an example lie together: each example is added to by one thread, in order.
  std::vector<size_t> begins;
  for (size_t i = 0; i < points.size(); ++i)
    if (i == 0 || points[i].example != points[i - 1].example) begins.push_back(i);
  parallel_for(std::ssize(begins), 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b)
      for (size_t i = begins[b]; i < points.size() && points[i].example == points[begins[b]].example; ++i) {
        Contraction& c = contractions_[points[i].example];
        for (int64_t r = 0; r < c.rows(); ++r)
          c.add(v, r, static_cast<float>(points[i].weight), gradient + (pass.row_begin(i) + r) * d);
      }
  });
}

void GroupScores::one_pass(const Between& what, std::span<const PathPoint> points, StreamValues* values, bool fill) {
  GradientPass pass(model_, graph_, metric_, group_);
  for (const PathPoint& p : points) pass.add(run_of(what, p));
  std::vector<uint8_t> here(size(), 0);
  for (const PathPoint& p : points) here[p.example] = 1;
  bool filled = !fill;
  GradientPass::Hooks hooks{.first_layer = what.layer, .change_at = what.site, .values = values, .progress = options_.progress};
  hooks.on_receiver = [&](int64_t v, const float* gradient) {
    if (!filled) fill_deltas(*values);
    filled = true;
    add_gradients(pass, points, v, gradient);
  };
  hooks.on_done = [&](int64_t lowest) {
    for (size_t i = 0; i < size(); ++i)
      if (here[i]) contractions_[i].done_down_to(lowest, scores_[i]);
  };
  if (!clean_.logits.empty()) hooks.clean_logits = &clean_.logits;
  const std::vector<double> m = pass.run(hooks);
  if (!fill) return;
  clean_.logits = pass.logits();
  find_ends();
}

void GroupScores::along(const Between& what, std::span<const PathPoint> points) {
  // Passes of whole examples where they fit, so that gradients need not wait; else all of an example's passes add up first.
  for (size_t begin = 0; begin < points.size();) {
    size_t end = begin;
    int64_t rows = 0;
    const auto next = [&](size_t from) {
      size_t stop = from;
      while (stop < points.size() && points[stop].example == points[from].example) ++stop;
      return stop;
    };
    const auto own = [&](size_t from, size_t stop) {
      return static_cast<int64_t>(stop - from) * group_.examples[points[from].example].rows();
    };
    while (end < points.size() && (end == begin || rows + own(end, next(end)) <= pass_rows_)) {
      rows += own(end, next(end));
      end = next(end);
    }
    const bool split = rows > pass_rows_;
    std::vector<size_t> members;
    for (size_t i = begin; i < end; ++i)
      if (members.empty() || members.back() != points[i].example) members.push_back(points[i].example);
    for (const size_t i : members) contractions_[i].begin(what.first_source, what.last_source, split);
    const auto chunk = static_cast<size_t>(
        split ? std::max<int64_t>(1, pass_rows_ / std::max<int64_t>(1, group_.examples[members[0]].rows())) : std::ssize(points));
    for (size_t i = begin; i < end; i += chunk) one_pass(what, points.subspan(i, std::min(chunk, end - i)), nullptr, false);
    for (const size_t i : members) contractions_[i].finish(scores_[i]);
    begin = end;
  }
}

void GroupScores::integrated() {
  const Between input{0, graph_.n_sources(), 0, {}};
  std::vector<size_t> open(size());
  std::iota(open.begin(), open.end(), size_t{0});
  const bool fixed = options_.steps > 0 || options_.method == EdgeMethod::kCleanCorrupted;
  int64_t m = options_.steps > 0 ? options_.steps : kFirstNodes;
  for (;;) {
    Quadrature q = quadrature(options_.rule, static_cast<int>(m));
    if (options_.method == EdgeMethod::kCleanCorrupted) q = {{0, 1}, {0.5, 0.5}};
    along(input, points(open, q.nodes, q.weights));
    std::vector<size_t> again;
    for (const size_t i : open) {
      const double wanted = ablated_metric_[i] - clean_metric_[i];
      nodes_[i] = std::ssize(q.nodes);
      if (std::abs(wanted) > kSame * std::max(1.0, std::abs(clean_metric_[i])))
        gap_[i] = std::abs(input_score(i) - wanted) / std::abs(wanted);
      if (gap_[i] >= kGap) again.push_back(i);
    }
    if (fixed || m >= kMostNodes || again.empty()) return;
    m = std::min(2 * m, kMostNodes);
    open = std::move(again);
    for (const size_t i : open) std::fill(scores_[i].begin(), scores_[i].end(), 0.0);
  }
}

void GroupScores::activations() {
  const Config& c = graph_.config();
  std::vector<size_t> all(size());
  std::iota(all.begin(), all.end(), size_t{0});
  const Quadrature q = quadrature(options_.rule, static_cast<int>(options_.steps > 0 ? options_.steps : kFirstNodes));
  const std::vector<PathPoint> path = points(all, q.nodes, q.weights);
  along({0, 1, 0, {}}, path);
  for (int l = 0; l < c.n_layers; ++l) {
    const int64_t first = graph_.head_source(l, 0), last = first + c.n_heads;
    along({first, last, l, Site{SiteKind::kAttnOut, l}}, path);
    if (c.mlp) along({last, last + 1, l, Site{SiteKind::kMlpOut, l}}, path);
  }
  nodes_.assign(size(), std::ssize(q.nodes));
}

void GroupScores::node_scores() {
  const Config& c = graph_.config();
  const int64_t d = c.d_model;
  node_.assign(size(), std::vector<double>(graph_.n_sources() * graph_.n_roles(), 0.0));
  GradientPass pass(model_, graph_, metric_, group_);
  for (size_t i = 0; i < size(); ++i) pass.add(run_of({}, {i, 1, 1}));
  GradientPass::Hooks hooks{.clean_logits = &clean_.logits, .progress = options_.progress};
  const auto at = [&](Site site, int64_t first, int64_t n) {
    hooks.at_sites.emplace_back(site, [this, &pass, first, n, d](const Tensor& g) {
      for (size_t i = 0; i < size(); ++i) {
        const std::vector<int32_t> roles = role_of_positions(graph_, *group_.examples[i].example);
        for (int64_t r = 0; r < contractions_[i].rows(); ++r)
          for (int64_t u = first; u < first + n; ++u) {
            const float *x = contractions_[i].delta(r) + u * d, *y = g.f32() + (pass.row_begin(i) + r) * d;
            double sum = 0;
            for (int64_t k = 0; k < d; ++k) sum += static_cast<double>(x[k]) * y[k];
            node_[i][u * graph_.n_roles() + roles[group_.examples[i].start + r]] += sum;
          }
      }
    });
  };
  at({SiteKind::kResidPre, 0}, 0, 1);
  for (int l = 0; l < c.n_layers; ++l) {
    at({SiteKind::kAttnOut, l}, graph_.head_source(l, 0), c.n_heads);
    if (c.mlp) at({SiteKind::kMlpOut, l}, graph_.mlp_source(l), 1);
  }
  pass.run(hooks);
  for (size_t i = 0; i < size(); ++i) {
    nodes_[i] = 1;
    for (int64_t e = 0; e < graph_.n_edges(); ++e) {
      const EdgeEnds x = graph_.ends(e);
      scores_[i][e] = node_[i][x.source * graph_.n_roles() + x.role];
    }
  }
}

}  // namespace microtome
