#include "microtome/circuits/patching/replacement.h"

#include <cmath>
#include <cstring>

#include "microtome/base/error.h"

namespace microtome {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorKind::kInvalidArgument, message); }

bool is_pattern(SiteKind site) { return site_shape(site) == SiteShape::kPattern; }

// Gram-Schmidt in double, twice over (enough for numerical orthogonality); rows that lie in the span of earlier ones are dropped.
std::vector<std::vector<double>> orthonormal_rows(const Tensor& basis, int64_t width, SiteKind site) {
  if (!basis.defined() || basis.rank() > 2 || basis.size(-1) != width)
    refuse(fmt::format("project: the array is {}, expected rows that span a subspace of {}: [k, {}]",
                       basis.defined() ? to_string(basis.shape()) : "absent", patch_site_name(site), width));
  std::vector<std::vector<double>> rows;
  for (int64_t r = 0; r < basis.numel() / width; ++r) {
    std::vector<double> v(basis.f32() + r * width, basis.f32() + (r + 1) * width);
    double before = 0, after = 0;
    for (const double x : v) before += x * x;
    if (!std::isfinite(before)) refuse("project: the array holds a number that is not finite");
    for (int pass = 0; pass < 2; ++pass)
      for (const auto& u : rows) {
        double dot = 0;
        for (int64_t i = 0; i < width; ++i) dot += u[i] * v[i];
        for (int64_t i = 0; i < width; ++i) v[i] -= dot * u[i];
      }
    for (const double x : v) after += x * x;
    if (after <= 1e-12 * before) continue;
    for (double& x : v) x /= std::sqrt(after);
    rows.push_back(std::move(v));
  }
  if (rows.empty()) refuse("project: the array spans no direction: all of it is 0");
  return rows;
}

}  // namespace

ReplacedValues::ReplacedValues(PatchRuns& runs, SiteKind site, const Replacement& replacement)
    : runs_(runs), replacement_(replacement) {
  const bool projects = replacement.kind == ReplacementKind::kProject || replacement.kind == ReplacementKind::kProjectOut;
  if (projects && is_pattern(site)) refuse("project: attention patterns have no subspace to project on; take z, q, k or v");
  if (projects) basis_ = orthonormal_rows(replacement.basis, site_width(site_shape(site), runs.config()), site);
  if (replacement.kind == ReplacementKind::kMean && is_pattern(site) && runs.size() < 2 && runs.setup().mean_prompts.empty())
    refuse("mean of a pattern is over prompts, entry by entry, and there is one prompt; give several, or ablate by zero");
}

Tensor ReplacedValues::at(size_t i, Site site) {
  switch (replacement_.kind) {
    case ReplacementKind::kOther: return runs_.other_value(i, site);
    case ReplacementKind::kZero: return Tensor::zeros(runs_.host_value(i, site).shape());
    case ReplacementKind::kMean: return mean_of(i, site);
    case ReplacementKind::kProject:
    case ReplacementKind::kProjectOut: return projected(i, site);
  }
  return {};
}

Tensor ReplacedValues::mean_of(size_t i, Site site) {
  const Tensor& host = runs_.host_value(i, site);
  Tensor out = Tensor::zeros(host.shape());
  std::vector<Tensor> over = runs_.mean_values(i, site);
  if (is_pattern(site.kind)) {
    // Entry by entry, over the prompts long enough to have it: every row of the mean is a distribution again.
    if (over.empty())
      for (size_t j = 0; j < runs_.size(); ++j) over.push_back(runs_.host_value(j, site));
    const int64_t heads = host.size(0), n = host.size(1);
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t q = 0; q < n; ++q)
        for (int64_t k = 0; k <= q; ++k) {
          double sum = 0, count = 0;
          for (const Tensor& t : over)
            if (const int64_t m = t.size(1); q < m) sum += t.f32()[(h * m + q) * m + k], count += 1;
          out.f32()[(h * n + q) * n + k] = count > 0 ? static_cast<float>(sum / count) : host.f32()[(h * n + q) * n + k];
        }
    return out;
  }
  if (!over.empty()) {
    for (int64_t x = 0; x < out.numel(); ++x) {
      double sum = 0;
      for (const Tensor& t : over) sum += t.f32()[x];
      out.f32()[x] = static_cast<float>(sum / static_cast<double>(over.size()));
    }
    return out;
  }
  std::vector<double>& mean = means_[site];
  const int64_t row = host.row_size();
  if (mean.empty()) {
    mean.assign(static_cast<size_t>(row), 0.0);
    double count = 0;
    for (size_t j = 0; j < runs_.size(); ++j) {
      const Tensor& t = runs_.host_value(j, site);
      for (int64_t p = 0; p < t.size(0); ++p, count += 1)
        for (int64_t x = 0; x < row; ++x) mean[x] += t.f32()[p * row + x];
    }
    for (double& m : mean) m /= count;
  }
  for (int64_t x = 0; x < out.numel(); ++x) out.f32()[x] = static_cast<float>(mean[x % row]);
  return out;
}

Tensor ReplacedValues::projected(size_t i, Site site) const {
  const Tensor &host = runs_.host_value(i, site), &other = runs_.other_value(i, site);
  const bool exchange = replacement_.kind == ReplacementKind::kProject;
  Tensor out = host.clone();
  const int64_t width = host.size(-1);
  std::vector<double> change(static_cast<size_t>(width));
  for (int64_t r = 0; r < host.numel() / width; ++r) {
    const float *a = host.f32() + r * width, *b = other.f32() + r * width;
    std::fill(change.begin(), change.end(), 0.0);
    for (const auto& u : basis_) {
      double dot = 0;
      for (int64_t x = 0; x < width; ++x) dot += u[x] * ((exchange ? b[x] : 0.0) - static_cast<double>(a[x]));
      for (int64_t x = 0; x < width; ++x) change[x] += dot * u[x];
    }
    for (int64_t x = 0; x < width; ++x) out.f32()[r * width + x] = static_cast<float>(a[x] + change[x]);
  }
  return out;
}

Tensor cut_value(const Tensor& whole, SiteKind site, const Slice& s) {
  const bool pattern = is_pattern(site);
  const int64_t rows = pattern ? whole.size(1) : whole.size(0), width = whole.size(-1);
  const int64_t heads = pattern ? whole.size(0) : whole.rank() == 3 ? whole.size(1) : 1;
  const Range p = s.pos.value_or(Range{0, rows}), h = s.head.value_or(Range{0, heads}), w = s.neuron.value_or(Range{0, width});
  const int64_t np = p.end - p.begin, nh = h.end - h.begin, nw = w.end - w.begin;
  Tensor out = Tensor::empty(pattern ? Shape{nh, np, nw} : whole.rank() == 3 ? Shape{np, nh, nw} : Shape{np, nw});
  float* to = out.f32();
  for (int64_t i = 0; i < nh * np; ++i) {
    // Rows of `out`, in its order.
    const int64_t head = h.begin + (pattern ? i / np : i % nh), row = p.begin + (pattern ? i % np : i / nh);
    const int64_t from = pattern ? head * rows + row : row * heads + head;
    std::memcpy(to + i * nw, whole.f32() + from * width + w.begin, static_cast<size_t>(nw) * sizeof(float));
  }
  return out;
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.numel() == b.numel() && std::memcmp(a.f32(), b.f32(), static_cast<size_t>(a.numel()) * sizeof(float)) == 0;
}

}  // namespace microtome
