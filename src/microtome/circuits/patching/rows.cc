#include "microtome/circuits/patching/rows.h"

namespace microtome {
namespace {

// Enough rows to fill the sweep's batches, few enough to hold (256 MB of values).
constexpr size_t kMostRows = 16384;
constexpr int64_t kMostValues = int64_t{64} << 20;

}  // namespace

void PatchRows::add(size_t cell, Intervention row) {
  const auto example = static_cast<size_t>(row.host);
  if (row.edits.empty()) {
    effects_.at(cell, example) = runs_.host_metric(example);
    runs_.count_null(example);
    return;
  }
  for (const Edit& e : row.edits) values_ += e.value.defined() ? e.value.numel() : 0;
  rows_.push_back(std::move(row));
  cells_.push_back(cell);
  if (rows_.size() >= kMostRows || values_ >= kMostValues) finish();
}

void PatchRows::finish() {
  if (rows_.empty()) return;
  runs_.sweep().run(rows_, [&](size_t k, const Tensor& logits) {
    const auto example = static_cast<size_t>(rows_[k].host);
    effects_.at(cells_[k], example) = runs_.metric_of(example, logits);
  });
  rows_.clear();
  cells_.clear();
  values_ = 0;
}

}  // namespace microtome
