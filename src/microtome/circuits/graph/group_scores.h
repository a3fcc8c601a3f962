// The edge scores of one group of examples, whose passes run together: used by score_edges.
//
//   GroupScores group(model, graph, metric, options, ablator, make_group(...), pass_rows);
//   group.run();
//   group.scores(i);                          // [edges] of the group's example i
#pragma once

#include <vector>

#include "microtome/circuits/graph/contraction.h"
#include "microtome/circuits/graph/edge_scores.h"
#include "microtome/circuits/graph/gradient_pass.h"

namespace microtome {

class GroupScores {
 public:
  GroupScores(const Model& model, const Graph& graph, const Metric& metric, const ScoreOptions& options, const Ablator& ablator,
              Group group, int64_t pass_rows);
  void run();

  size_t size() const { return group_.examples.size(); }
  const GroupExample& example(size_t i) const { return group_.examples[i]; }
  const std::vector<double>& scores(size_t i) const { return scores_[i]; }
  const std::vector<double>& node(size_t i) const { return node_[i]; }  // atp: [sources, roles]
  double clean(size_t i) const { return clean_metric_[i]; }
  double ablated(size_t i) const { return ablated_metric_[i]; }
  double gap(size_t i) const { return gap_[i]; }
  int64_t nodes(size_t i) const { return nodes_[i]; }
  double input_score(size_t i) const;  // sum over receivers of score(input -> v)

 private:
  // One run of an example: its input (or a source's output) at a place between the ablated value (0) and the clean one (1).
  struct PathPoint {
    size_t example = 0;
    double at = 0, weight = 0;
  };
  // A layer's heads together, an MLP, or the input: sources that lie between together.
  struct Between {
    int64_t first_source = 0, last_source = 0;
    int layer = 0;
    std::optional<Site> site;  // where their output is; absent: the input
  };

  void eap();
  void integrated();
  void activations();
  void node_scores();
  void find_ends();
  void fill_deltas(const StreamValues& clean);
  std::vector<PathPoint> points(std::span<const size_t> examples, std::span<const double> at,
                                std::span<const double> weight) const;
  // Adds to the scores of edges out of the sources; examples whose points do not fit into one pass wait for the next.
  void along(const Between& what, std::span<const PathPoint> points);
  void one_pass(const Between& what, std::span<const PathPoint> points, StreamValues* values, bool fill);
  GradientPass::Run run_of(const Between& what, const PathPoint& p) const;
  void add_gradients(const GradientPass& pass, std::span<const PathPoint> points, int64_t v, const float* gradient);

  const Model& model_;
  const Graph& graph_;
  const Metric& metric_;
  const ScoreOptions& options_;
  const Ablator& ablator_;
  Group group_;
  int64_t pass_rows_;
  GroupRun ablated_, clean_;
  std::vector<Contraction> contractions_;
  std::vector<std::vector<double>> scores_, node_;
  std::vector<double> clean_metric_, ablated_metric_, gap_;
  std::vector<int64_t> nodes_;
};

}  // namespace microtome
