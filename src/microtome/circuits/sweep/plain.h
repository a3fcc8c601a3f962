// A block without edits in it, on the changed rows of many interventions. Internal to the sweep.
#pragma once

#include "microtome/circuits/sweep/layer.h"

namespace microtome::sweep {

class PlainBlock {
 public:
  PlainBlock(const Model& model, std::span<const Item> items, int l, SweepMacs& macs)
      : model_(model), config_(model.config()), items_(items), l_(l), macs_(macs) {}

  // `in`: rows that changed in the block's input. `mid`: rows that changed after its attention. `out` gains the rows that change
  // in its output (in the last block: those of them whose logits are wanted).
  void run(const RowStore& in, const RowStore& mid, RowStore& out);

 private:
  // Rows of one intervention.
  struct Rows {
    const Item* item;
    int64_t first;                 // its rows in the store
    std::vector<int32_t> changed;  // positions in the store
    std::vector<int32_t> asking;   // those of them whose queries are computed
    std::vector<int32_t> onward;   // positions whose attention, W_O and MLP are computed
    KvCache cache;                 // the host's keys and values of this block, with the changed ones in place
  };

  bool last() const { return l_ + 1 == static_cast<int>(config_.n_layers); }
  std::vector<Rows> rows_of(const RowStore& in) const;
  std::vector<int32_t> kept(const Item& item, const std::vector<int32_t>& positions) const;
  Batch batch_of(std::vector<Rows>& rows, std::vector<int32_t> Rows::*which) const;
  void renew_keys(std::vector<Rows>& rows, const RowStore& in);
  Tensor new_queries(std::vector<Rows>& rows, const RowStore& in);
  Tensor after_attention(std::vector<Rows>& rows, const RowStore& in);
  void take(const std::vector<Rows>& rows, const RowStore& in, const Tensor& asked);

  const Model& model_;
  const Config& config_;
  std::span<const Item> items_;
  int l_;
  SweepMacs& macs_;
  Tensor resid_, q_;  // of the onward rows: [rows, D], [rows, H, K]
};

}  // namespace microtome::sweep
