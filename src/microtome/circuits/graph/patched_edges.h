// Exact effects of edges, kept as they come: work of hours goes on where it was cut off, by whatever means.
//
//   PatchedEdges known("c.json.partial", key);        // what an earlier run with the same key left
//   known.patch(run, metric, graph, edges, progress); // only those that are missing
//   known.effects(edge);                              // [examples]
//
// The file: a line with the key, then one line for each edge, its number and its effects. Lines are only appended; a last line
// that was cut short is dropped when the file is read. One thread, one process.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "microtome/circuits/graph/edge_scores.h"

namespace microtome {

class PatchedEdges {
 public:
  // An empty path: nothing is kept on disk. A file with another key, or none of ours, is begun anew.
  PatchedEdges(std::filesystem::path file, std::string key, size_t examples);

  // Throws Io if the file cannot be written.
  void patch(CircuitRun& run, const Metric& metric, const Graph& graph, std::span<const int64_t> edges, Progress* progress);
  size_t size() const { return effects_.size(); }
  const std::vector<double>& effects(int64_t edge) const { return effects_.at(edge); }
  double mean(int64_t edge) const;

 private:
  void read();
  std::filesystem::path file_;
  std::string key_;
  size_t examples_;
  std::map<int64_t, std::vector<double>> effects_;
};

}  // namespace microtome
