// Edges of graphs that count keys and values per query head, and ours. For the readers and writers of this folder.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "microtome/circuits/graph/graph.h"

namespace microtome::formats_internal {

// A receiver as files name it: the query head also for keys and values.
struct FileReceiver {
  Receiver::Kind kind = Receiver::Kind::kQuery;
  int layer = -1, head = -1;
};

// A whole number without sign, "12" -> 12; nothing for anything else or above 10^6.
std::optional<int> small_number(std::string_view text);

// Our edge, or -1 if the model has no such edge.
int64_t edge_of(const Graph& graph, const GraphNode& source, const FileReceiver& receiver);

// The receivers as files have them: a key/value head's for each query head of its group. `share`: the part of a score that each
// gets.
struct FileEdge {
  GraphNode source;
  FileReceiver receiver;
  double share = 1;
};
std::vector<FileEdge> file_edges(const Graph& graph, int64_t edge);

}  // namespace microtome::formats_internal
