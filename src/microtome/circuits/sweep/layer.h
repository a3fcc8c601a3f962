// One block of a sweep: the changed rows of many interventions go in, and come out one block further. Internal to the sweep.
//
// Per block (circuits specification, section 7): queries, keys and values of changed rows only; attention, W_O and MLP of the
// rows that see them; in the last block only the rows whose logits are wanted. Heads' and neurons' changes enter as their
// difference times W_O or W_out.
#pragma once

#include <span>
#include <vector>

#include "microtome/circuits/sweep/entry.h"

namespace microtome::sweep {

// One intervention on its way.
struct Item {
  const Intervention* intervention = nullptr;
  size_t index = 0;  // in the caller's list
  Route route;
  const HostRun* host = nullptr;
};

class Layers {
 public:
  // Items by increasing layer. Adds to `macs`.
  Layers(const Model& model, std::span<const Item> items, SweepMacs& macs);

  // The stream [changed rows, D] after the last block; `step(items, layer)` after each block.
  RowStore run(const std::function<void(int layer)>& step);

  // Rows of the item's host whose logits are wanted and at or after `from`.
  static std::vector<int32_t> wanted(const Item& item, int64_t from);

 private:
  RowStore block(int l, const RowStore& in);
  void run_whole(int l, const RowStore& in, RowStore& out);
  void run_plain(int l, const RowStore& in, const RowStore& mid, RowStore& out);
  void enter(int l, Point point, RowStore& out);
  void enter_heads(int l, std::span<const int64_t> items, RowStore& out);
  void enter_neurons(int l, std::span<const int64_t> items, RowStore& out);

  void plan(const RowStore& entered, size_t first_part);  // counts what the parts from first_part on should cost

  const Model& model_;
  const Config& config_;
  std::span<const Item> items_;
  SweepMacs& macs_;
};

}  // namespace microtome::sweep
