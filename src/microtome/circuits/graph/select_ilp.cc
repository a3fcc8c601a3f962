#include "microtome/circuits/graph/select_ilp.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <coin/CbcModel.hpp>
#include <coin/OsiClpSolverInterface.hpp>
#include <map>

#include "microtome/base/error.h"
#include "microtome/circuits/graph/select.h"

namespace microtome {
namespace {

double size_of(double score, bool by_sign) { return by_sign ? score : std::abs(score); }

// -1 for the logits.
int64_t source_of(const Graph& graph, const GraphNode& n) {
  if (n.kind == GraphNode::Kind::kInput) return 0;
  if (n.kind == GraphNode::Kind::kHead) return graph.head_source(n.layer, n.head);
  return n.kind == GraphNode::Kind::kMlp ? graph.mlp_source(n.layer) : -1;
}

// The circuit that is sure to be allowed: of the largest candidates as many as, pruned, are at most n.
EdgeMask first_answer(const Graph& graph, std::span<const double> scores, const std::vector<int64_t>& candidates, int64_t n,
                      bool by_sign) {
  std::vector<double> of_candidates(scores.size(), 0.0);
  for (const int64_t e : candidates) of_candidates[e] = scores[e];
  const auto total = [&](const EdgeMask& m) {
    double sum = 0;
    for (const int64_t e : candidates) sum += m[e] ? size_of(scores[e], by_sign) : 0;
    return sum;
  };
  const auto only = [&](EdgeMask m) {
    for (size_t e = 0; e < m.size(); ++e)
      if (of_candidates[e] == 0) m[e] = 0;
    return prune(graph, std::move(m));
  };
  EdgeMask best = only(select_greedy(graph, of_candidates, n, by_sign));
  // More than n of the largest, where enough of them are pruned away.
  for (int64_t m = n; m <= std::ssize(candidates); m += std::max<int64_t>(1, n / 20)) {
    EdgeMask top = only(select_top(of_candidates, m, by_sign));
    if (count_edges(top) > n) break;
    if (total(top) > total(best)) best = std::move(top);
  }
  return best;
}

// Variables: one for each candidate edge, then one for each node between input and logits.
class Program {
 public:
  Program(const Graph& graph, std::span<const double> scores, std::vector<int64_t> candidates, const IlpOptions& options)
      : graph_(graph), scores_(scores), candidates_(std::move(candidates)), options_(options) {
    for (size_t i = 0; i < candidates_.size(); ++i) {
      const EdgeEnds x = graph_.ends(candidates_[i]);
      if (x.source != 0) out_[x.source].push_back(static_cast<int>(i));
      for (const GraphNode& n : graph_.nodes_of(x.receiver))
        if (const int64_t u = source_of(graph_, n); u > 0) in_[u].push_back(static_cast<int>(i));
    }
    for (const auto* side : {&in_, &out_})
      for (const auto& [u, edges] : *side) node_.emplace(u, 0);
    for (auto& [u, column] : node_) column = columns_++;
  }

  int columns() const { return static_cast<int>(candidates_.size()) + columns_; }

  void load(OsiClpSolverInterface& solver) const {
    CoinPackedMatrix matrix(false, 0, 0);
    matrix.setDimensions(0, columns());
    std::vector<double> low, high;
    const auto row = [&](const std::vector<std::pair<int, double>>& terms, double most) {
      CoinPackedVector v;
      for (const auto& [column, factor] : terms) v.insert(column, factor);
      matrix.appendRow(v);
      low.push_back(-solver.getInfinity());
      high.push_back(most);
    };
    std::vector<std::pair<int, double>> all;
    for (int i = 0; i < std::ssize(candidates_); ++i) all.emplace_back(i, 1);
    row(all, static_cast<double>(options_.edges));
    for (const auto& [u, column] : node_) {
      const int y = static_cast<int>(candidates_.size()) + column;
      for (const auto* side : {&in_, &out_}) {
        // A node that is used has an edge on this side ...
        std::vector<std::pair<int, double>> needs{{y, 1}};
        if (const auto it = side->find(u); it != side->end())
          for (const int i : it->second) needs.emplace_back(i, -1);
        row(needs, 0);
      }
      // ... and an edge out of it makes it used.
      if (const auto it = out_.find(u); it != out_.end())
        for (const int i : it->second) row({{i, 1}, {y, -1}}, 0);
    }
    // An edge into a receiver needs one of the nodes that the receiver belongs to.
    for (int i = 0; i < std::ssize(candidates_); ++i) {
      std::vector<std::pair<int, double>> terms{{i, 1}};
      bool logits = false;
      for (const GraphNode& n : graph_.nodes_of(graph_.ends(candidates_[i]).receiver)) {
        const int64_t u = source_of(graph_, n);
        if (u < 0) logits = true;
        else terms.emplace_back(static_cast<int>(candidates_.size()) + node_.at(u), -1);
      }
      if (!logits) row(terms, 0);
    }
    std::vector<double> zero(columns(), 0), one(columns(), 1), objective(columns(), 0);
    for (size_t i = 0; i < candidates_.size(); ++i) objective[i] = -size_of(scores_[candidates_[i]], options_.by_sign) * scale();
    solver.loadProblem(matrix, zero.data(), one.data(), objective.data(), low.data(), high.data());
    for (int c = 0; c < columns(); ++c) solver.setInteger(c);
  }

  // Scores of any size are brought near 1, where the solver's tolerances are meant for.
  double scale() const {
    double top = 0;
    for (const int64_t e : candidates_) top = std::max(top, std::abs(scores_[e]));
    return top > 0 ? 1 / top : 1;
  }

  std::vector<double> solution_of(const EdgeMask& mask) const {
    std::vector<double> x(columns(), 0);
    for (size_t i = 0; i < candidates_.size(); ++i) x[i] = mask[candidates_[i]];
    for (const auto& [u, edges] : out_)
      for (const int i : edges)
        if (x[i] > 0) x[candidates_.size() + node_.at(u)] = 1;
    return x;
  }

  EdgeMask mask_of(const double* x) const {
    EdgeMask mask(graph_.n_edges(), 0);
    for (size_t i = 0; i < candidates_.size(); ++i) mask[candidates_[i]] = x[i] > 0.5;
    return mask;
  }

  double total(const EdgeMask& mask) const {
    double sum = 0;
    for (const int64_t e : candidates_) sum += mask[e] ? size_of(scores_[e], options_.by_sign) : 0;
    return sum;
  }

 private:
  const Graph& graph_;
  std::span<const double> scores_;
  std::vector<int64_t> candidates_;
  const IlpOptions& options_;
  std::map<int64_t, std::vector<int>> in_, out_;  // candidates into and out of each node
  std::map<int64_t, int> node_;                   // its column behind the edges'
  int columns_ = 0;
};

}  // namespace

IlpSelection select_ilp(const Graph& graph, std::span<const double> scores, const IlpOptions& options) {
  if (graph.by_position())
    throw Error(ErrorKind::kUnsupported,
                "selection by integer program is for graphs that are not resolved by position; use --select greedy");
  if (options.edges < 1 || !(options.seconds > 0))
    throw Error(ErrorKind::kInvalidArgument,
                "selection by integer program: {} edges in {} s; give at least one edge and some time", options.edges,
                options.seconds);
  MT_CHECK(std::ssize(scores) == graph.n_edges());
  const auto begin = std::chrono::steady_clock::now();
  std::vector<int64_t> candidates;
  for (const int64_t e : ranked_edges(scores, options.by_sign)) {
    if (std::ssize(candidates) == std::max(options.candidates, options.edges)) break;
    if (!std::isfinite(scores[e]))
      throw Error(ErrorKind::kInvalidArgument, "the score of edge {} is not a number", graph.edge_name(e));
    if (scores[e] != 0) candidates.push_back(e);
  }
  std::sort(candidates.begin(), candidates.end());
  IlpSelection out{.mask = EdgeMask(graph.n_edges(), 0), .optimal = true};
  if (candidates.empty()) return out;
  const EdgeMask start = first_answer(graph, scores, candidates, options.edges, options.by_sign);
  const Program program(graph, scores, candidates, options);
  OsiClpSolverInterface solver;
  solver.messageHandler()->setLogLevel(0);
  program.load(solver);
  CbcModel cbc(solver);
  cbc.setLogLevel(0);
  cbc.messageHandler()->setLogLevel(0);
  cbc.solver()->messageHandler()->setLogLevel(0);
  cbc.setRandomSeed(1);
  cbc.setMaximumSeconds(options.seconds);
  cbc.setDblParam(CbcModel::CbcAllowableFractionGap, 1e-9);
  std::vector<double> x = program.solution_of(start);
  const double first = program.total(start);
  cbc.setBestSolution(x.data(), program.columns(), -first * program.scale(), true);
  cbc.branchAndBound();
  out.mask = start;
  if (cbc.bestSolution()) {
    EdgeMask found = prune(graph, program.mask_of(cbc.bestSolution()));
    if (program.total(found) >= first && count_edges(found) <= options.edges) out.mask = std::move(found);
  }
  out.value = program.total(out.mask);
  out.optimal = cbc.isProvenOptimal();
  out.bound = out.optimal ? out.value : std::max(out.value, -cbc.getBestPossibleObjValue() / program.scale());
  out.gap = out.bound == 0 ? 0 : (out.bound - out.value) / std::abs(out.bound);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return out;
}

}  // namespace microtome
