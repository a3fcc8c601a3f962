#include <algorithm>
#include <array>

#include "microtome/base/error.h"
#include "microtome/model/plan.h"

namespace microtome {
namespace {

// A site's values of one pass, addressed the same way whatever their layout: row r (a token), head h, value w.
struct Grid {
  bool pattern = false;
  int64_t first_row = 0;  // of the pass, where the data begins
  int64_t rows = 0, heads = 1, width = 0;

  int64_t index(int64_t r, int64_t h, int64_t w) const {
    return pattern ? (h * rows + r) * width + w : (r * heads + h) * width + w;
  }
};

Grid grid_of(const Tensor& x, const Batch& batch, int sequence) {
  Grid g;
  g.pattern = sequence >= 0;
  g.width = x.size(-1);
  if (g.pattern) {
    g.first_row = batch.sequences[sequence].row_begin;
    g.heads = x.size(0);
    g.rows = x.size(1);
  } else {
    g.rows = x.size(0);
    g.heads = x.rank() == 3 ? x.size(1) : 1;
  }
  return g;
}

// One row that the edit touches, and which of the slice's positions it is.
struct SelectedRow {
  int64_t row;        // in the grid
  int64_t position;   // within the slice, from 0
  int64_t positions;  // of the slice that lie in the prompt
  int sequence;
};

// Of all sequences, or of one.
std::vector<SelectedRow> selected_rows(const Slice& where, const Batch& batch, const Grid& grid, const Site& site,
                                       int only = -1) {
  std::vector<SelectedRow> out;
  for (size_t s = only < 0 ? 0 : only; s < (only < 0 ? batch.sequences.size() : only + 1); ++s) {
    const Sequence& q = batch.sequences[s];
    const auto [begin, end] = positions_of(where, q.prompt_length);
    if (begin < 0 || begin >= end)
      throw Error(ErrorKind::kInvalidArgument, "{}: pos {}:{} is outside of a prompt of {} tokens", site_name(site),
                  where.pos->begin, where.pos->end, q.prompt_length);
    for (int64_t r = q.row_begin; r < q.row_end; ++r) {
      const int64_t p = batch.positions[r], row = r - grid.first_row;
      if (p < begin || p >= end || row < 0 || row >= grid.rows) continue;
      const int64_t prompt_positions = std::max<int64_t>(0, std::min(end, q.prompt_length) - begin);
      out.push_back({row, p - begin, prompt_positions, static_cast<int>(s)});
    }
  }
  return out;
}

// The edit's value array, broadcast to [sequence, position, head, width] (patterns: [sequence, head, position, width]).
struct Source {
  const float* data = nullptr;
  std::array<int64_t, 4> size{1, 1, 1, 1};
  bool pattern = false, flat = false;

  Source(const Edit& edit, const Grid& grid, const Site& site) : data(edit.value.f32()), pattern(grid.pattern) {
    const Shape& shape = edit.value.shape();
    // A site without heads has one dimension less, even where the pass keeps a copy of it for every head (ln1 before edited
    // q, k and v inputs).
    flat = !grid.pattern && site_shape(site.kind) != SiteShape::kHeads && site_shape(site.kind) != SiteShape::kKvHeads &&
           site_shape(site.kind) != SiteShape::kHeadStream && site_shape(site.kind) != SiteShape::kKvHeadStream;
    const size_t most = flat ? 3 : 4;
    if (shape.size() > most)
      throw Error(ErrorKind::kInvalidArgument, "{}: a value of shape {} has too many dimensions (at most {})", site_name(site),
                  to_string(shape), most);
    std::array<int64_t, 4> aligned{1, 1, 1, 1};
    for (size_t i = 0; i < shape.size(); ++i) aligned[most - shape.size() + i] = shape[i];
    size = flat ? std::array{aligned[0], aligned[1], int64_t{1}, aligned[2]} : aligned;
  }

  int64_t positions() const { return pattern ? size[2] : size[1]; }
  int64_t heads() const { return pattern ? size[1] : size[2]; }

  void check(int64_t n_sequences, int64_t n_heads, int64_t n_width, const std::vector<SelectedRow>& rows,
             const Edit& edit) const {
    const auto fits = [](int64_t have, int64_t want) { return have == 1 || have == want; };
    bool good = fits(size[0], n_sequences) && fits(heads(), n_heads) &&
                (fits(size[3], n_width) || (pattern && (size[3] <= n_width || size[0] > 1)));
    for (const SelectedRow& r : rows) good = good && (positions() == 1 || positions() == r.positions || size[0] > 1);
    if (!good)
      throw Error(ErrorKind::kInvalidArgument,
                  "{}: a value of shape {} does not broadcast to the slice: {} positions, {} heads, {} values",
                  site_name(edit.site), to_string(edit.value.shape()), rows.empty() ? 0 : rows[0].positions, n_heads, n_width);
  }

  // Null where the array says nothing about this place.
  const float* find(const SelectedRow& r, int64_t h, int64_t w) const {
    const auto pick = [](int64_t n, int64_t i) { return n == 1 ? 0 : i; };
    const int64_t p = pick(positions(), r.position), s = pick(size[0], r.sequence), hh = pick(heads(), h), ww = pick(size[3], w);
    if (p >= positions() || ww >= size[3]) return nullptr;
    const int64_t i = pattern ? hh : p, j = pattern ? p : hh;
    return data + ((s * size[1] + i) * size[2] + j) * size[3] + ww;
  }
};

struct Cells {
  std::vector<SelectedRow> rows;
  Range heads, width;

  template <class Fn>  // fn(row, head, value)
  void each(Fn&& fn) const {
    for (const SelectedRow& r : rows)
      for (int64_t h = heads.begin; h < heads.end; ++h)
        for (int64_t w = width.begin; w < width.end; ++w) fn(r, h, w);
  }
};

// Sum over the prompt's rows per (head, value), divided by their number; taken once per run.
struct Mean {
  int64_t count = 0;
  std::vector<int64_t> prompt_rows;  // in the grid

  Mean(const Batch& batch, const Grid& grid) {
    for (const Sequence& q : batch.sequences)
      for (int64_t r = q.row_begin; r < q.row_end; ++r) {
        if (batch.positions[r] >= q.prompt_length) continue;
        ++count;
        const int64_t row = r - grid.first_row;
        if (row >= 0 && row < grid.rows) prompt_rows.push_back(row);
      }
  }

  void take(const float* x, const Grid& grid, std::vector<double>& mean) const {
    mean.assign(grid.heads * grid.width, 0.0);
    for (const int64_t r : prompt_rows)
      for (int64_t h = 0; h < grid.heads; ++h)
        for (int64_t w = 0; w < grid.width; ++w) mean[h * grid.width + w] += x[grid.index(r, h, w)];
    for (double& m : mean) m /= static_cast<double>(std::max<int64_t>(1, count));
  }
};

void write_cells(const Edit& edit, const Grid& grid, const Cells& cells, const Source* source, float* y) {
  switch (edit.op) {
    case EditOp::kZero: cells.each([&](const SelectedRow& r, int64_t h, int64_t w) { y[grid.index(r.row, h, w)] = 0; }); break;
    case EditOp::kScale:
      cells.each([&](const SelectedRow& r, int64_t h, int64_t w) { y[grid.index(r.row, h, w)] *= edit.factor; });
      break;
    case EditOp::kMean: {
      const int64_t known = std::ssize(*edit.mean) / grid.heads;
      cells.each([&](const SelectedRow& r, int64_t h, int64_t w) {
        y[grid.index(r.row, h, w)] = w < known ? static_cast<float>((*edit.mean)[h * known + w]) : 0.0f;
      });
      break;
    }
    case EditOp::kAdd:
    case EditOp::kSet:
      cells.each([&](const SelectedRow& r, int64_t h, int64_t w) {
        const float* v = source->find(r, h - cells.heads.begin, w - cells.width.begin);
        float& cell = y[grid.index(r.row, h, w)];
        if (v) cell = edit.op == EditOp::kSet ? *v : cell + *v * edit.factor;
      });
      break;
    case EditOp::kCustom: break;
  }
}

// Gradient of the value before the edit.
void backward_cells(const Edit& edit, const Grid& grid, const Cells& cells, const Source* source, const Mean* mean, float* g) {
  if (edit.op == EditOp::kAdd) return;
  std::vector<double> through_mean(mean ? grid.heads * grid.width : 0, 0.0);
  cells.each([&](const SelectedRow& r, int64_t h, int64_t w) {
    float& cell = g[grid.index(r.row, h, w)];
    if (edit.op == EditOp::kScale) {
      cell *= edit.factor;
    } else if (edit.op != EditOp::kSet || source->find(r, h - cells.heads.begin, w - cells.width.begin)) {
      if (mean) through_mean[h * grid.width + w] += cell;
      cell = 0;
    }
  });
  if (!mean) return;
  for (const int64_t r : mean->prompt_rows)
    for (int64_t h = 0; h < grid.heads; ++h)
      for (int64_t w = 0; w < grid.width; ++w)
        g[grid.index(r, h, w)] += static_cast<float>(through_mean[h * grid.width + w] / static_cast<double>(mean->count));
}

Value apply_custom(Tape* tape, const OpContext& ctx, const Batch& batch, const Edit& edit, Site site, int sequence,
                   const Value& value) {
  SiteValue changed{site, &batch, sequence, value.data.clone(ctx.arena)};
  edit.custom(changed);
  if (!tape || value.node < 0) return changed.data;
  return tape->record(changed.data, [tape, ctx, node = value.node, before = value.data, after = changed.data](const Tensor& dy) {
    Tensor dx = dy.clone(ctx.arena);
    for (int64_t i = 0; i < dx.numel(); ++i)
      if (before.f32()[i] != after.f32()[i]) dx.f32()[i] = 0;
    tape->add_gradient(node, dx);
  });
}

}  // namespace

void write_edit(const Edit& edit, SiteValue& value, int sequence) {
  MT_CHECK(edit.op != EditOp::kMean && edit.op != EditOp::kCustom);
  const Grid grid = grid_of(value.data, *value.batch, value.sequence);
  Cells cells{selected_rows(edit.where, *value.batch, grid, value.site, sequence), edit.where.head.value_or(Range{0, grid.heads}),
              edit.where.neuron.value_or(Range{0, grid.width})};
  cells.width.end = std::min(cells.width.end, grid.width);
  if (cells.rows.empty()) return;
  for (SelectedRow& r : cells.rows) r.sequence = 0;
  std::optional<Source> source;
  if (edit.op == EditOp::kAdd || edit.op == EditOp::kSet) {
    source.emplace(edit, grid, value.site);
    source->check(1, cells.heads.end - cells.heads.begin, cells.width.end - cells.width.begin, cells.rows, edit);
  }
  write_cells(edit, grid, cells, source ? &*source : nullptr, value.data.f32());
}

Value apply_edit(Tape* tape, const OpContext& ctx, const Batch& batch, const Config&, const Edit& edit, Site site, int sequence,
                 const Value& value) {
  if (edit.op == EditOp::kCustom) return apply_custom(tape, ctx, batch, edit, site, sequence, value);
  const Grid grid = grid_of(value.data, batch, sequence);
  Cells cells{selected_rows(edit.where, batch, grid, site), edit.where.head.value_or(Range{0, grid.heads}),
              edit.where.neuron.value_or(Range{0, grid.width})};
  cells.width.end = std::min(cells.width.end, grid.width);  // keys that do not exist yet
  std::shared_ptr<Mean> mean;
  if (edit.op == EditOp::kMean) {
    mean = std::make_shared<Mean>(batch, grid);
    if (mean->prompt_rows.empty()) mean.reset();
    else mean->take(value.data.f32(), grid, *edit.mean);
  }
  if (cells.rows.empty()) return value;

  std::shared_ptr<Source> source;
  if (edit.op == EditOp::kAdd || edit.op == EditOp::kSet) {
    source = std::make_shared<Source>(edit, grid, site);
    source->check(std::ssize(batch.sequences), cells.heads.end - cells.heads.begin, cells.width.end - cells.width.begin,
                  cells.rows, edit);
  }
  Tensor y = value.data.clone(ctx.arena);
  write_cells(edit, grid, cells, source.get(), y.f32());
  if (!tape || value.node < 0) return y;
  return tape->record(y, [tape, ctx, edit, grid, cells, source, mean, node = value.node](const Tensor& dy) {
    Tensor dx = dy.clone(ctx.arena);
    backward_cells(edit, grid, cells, source.get(), mean.get(), dx.f32());
    tape->add_gradient(node, dx);
  });
}

}  // namespace microtome
