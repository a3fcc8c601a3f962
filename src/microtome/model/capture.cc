#include "microtome/model/capture.h"

#include <algorithm>

#include "microtome/base/error.h"

namespace microtome {

void Capture::read(Plan& plan, Site site, Slice slice) {
  Entry& entry = values_[site];
  plan.read(site, [this, &entry, slice](const SiteValue& v) {
    if (!slice.head && !slice.neuron) return keep(entry, v, false);
    SiteValue cut = v;
    cut.data = take_slice(v, slice);
    keep(entry, cut, false);
  });
}

void Capture::gradient(Plan& plan, Site site) {
  Entry& entry = gradients_[site];
  plan.gradient(site, [this, &entry](const SiteValue& v) { keep(entry, v, true); });
}

void Capture::keep(Entry& entry, const SiteValue& value, bool add) {
  entry.sequences.resize(n_sequences_);
  entry.pattern = value.sequence >= 0;
  const Tensor& x = value.data;
  for (int64_t s = 0; s < n_sequences_; ++s) {
    if (entry.pattern && s != value.sequence) continue;
    const Sequence& q = value.batch->sequences[s];
    Rows& rows = entry.sequences[s];
    rows.row_shape = entry.pattern ? Shape{x.size(0)} : Shape(x.shape().begin() + 1, x.shape().end());
    for (int64_t r = q.row_begin; r < q.row_end; ++r) {
      const size_t p = static_cast<size_t>(value.batch->positions[r]);
      if (rows.row.size() <= p) rows.row.resize(p + 1);
      std::vector<float> row;
      if (entry.pattern) {
        const int64_t n = x.size(1), keys = x.size(2);
        for (int64_t h = 0; h < x.size(0); ++h) {
          const float* from = x.f32() + (h * n + r - q.row_begin) * keys;
          row.insert(row.end(), from, from + keys);
        }
      } else {
        const float* from = x.f32() + r * x.row_size();
        row.assign(from, from + x.row_size());
      }
      std::vector<float>& kept = rows.row[p];
      if (!add || kept.empty()) kept = std::move(row);
      else
        for (size_t i = 0; i < row.size(); ++i) kept[i] += row[i];
    }
  }
}

Tensor Capture::assemble(const Entry& entry) {
  int64_t length = 0;
  Shape row_shape;
  for (const Rows& s : entry.sequences) {
    length = std::max<int64_t>(length, std::ssize(s.row));
    if (!s.row_shape.empty()) row_shape = s.row_shape;
  }
  const int64_t n = std::ssize(entry.sequences);
  if (!entry.pattern) {
    Shape shape{n, length};
    shape.insert(shape.end(), row_shape.begin(), row_shape.end());
    Tensor out = Tensor::zeros(shape);
    const int64_t width = numel(row_shape);
    for (int64_t s = 0; s < n; ++s)
      for (int64_t p = 0; p < std::ssize(entry.sequences[s].row); ++p)
        std::copy(entry.sequences[s].row[p].begin(), entry.sequences[s].row[p].end(), out.f32() + (s * length + p) * width);
    return out;
  }
  const int64_t heads = numel(row_shape);
  Tensor out = Tensor::zeros({n, heads, length, length});
  for (int64_t s = 0; s < n; ++s)
    for (int64_t p = 0; p < std::ssize(entry.sequences[s].row); ++p) {
      const std::vector<float>& row = entry.sequences[s].row[p];
      const int64_t keys = std::ssize(row) / heads;
      for (int64_t h = 0; h < heads; ++h)
        std::copy_n(row.begin() + h * keys, std::min(keys, length), out.f32() + ((s * heads + h) * length + p) * length);
    }
  return out;
}

std::vector<Site> Capture::sites() const {
  std::vector<Site> out;
  for (const auto& [site, entry] : values_)
    if (!entry.sequences.empty()) out.push_back(site);
  return out;
}

std::vector<Site> Capture::gradient_sites() const {
  std::vector<Site> out;
  for (const auto& [site, entry] : gradients_)
    if (!entry.sequences.empty()) out.push_back(site);
  return out;
}

std::vector<int64_t> Capture::lengths() const {
  std::vector<int64_t> out;
  for (const auto& [site, entry] : values_) {
    if (entry.sequences.empty()) continue;
    for (const Rows& s : entry.sequences) out.push_back(std::ssize(s.row));
    break;
  }
  return out;
}

}  // namespace microtome
