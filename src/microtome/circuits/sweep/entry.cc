#include "microtome/circuits/sweep/entry.h"

#include <algorithm>
#include <cstring>

#include "microtome/base/error.h"

namespace microtome::sweep {
namespace {

bool one_of(SiteKind kind, std::initializer_list<SiteKind> kinds) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

Way way_of(SiteKind kind, bool rounds) {
  using enum SiteKind;
  if (one_of(kind, {kResidPre, kResidMid, kResidPost, kAttnOut, kMlpOut})) return Way::kStream;
  // Differences times weights have f32's digits; where activations are rounded before each product they would not be the model's.
  if (rounds) return Way::kWhole;
  if (one_of(kind, {kQ, kK, kV, kRotQ, kRotK, kAttnScores, kPattern, kZ, kResult})) return Way::kHeads;
  return kind == kMlpPost ? Way::kNeurons : Way::kWhole;
}

Point point_of(SiteKind kind, const Config& config) {
  if (kind == SiteKind::kResidPre) return Point::kPre;
  if (one_of(kind, {SiteKind::kResidPost, SiteKind::kMlpOut, SiteKind::kMlpPost})) return Point::kPost;
  return after_attention(config);
}

}  // namespace

bool edited_at(const Route& route, const Intervention& intervention, int l) {
  return route.way == Way::kWhole &&
         std::any_of(intervention.edits.begin(), intervention.edits.end(), [&](const Edit& e) { return e.site.layer == l; });
}

Point after_attention(const Config& config) { return config.has_resid_mid() ? Point::kMid : Point::kPost; }

Site stream_site(Point point, int layer) {
  return {point == Point::kPre ? SiteKind::kResidPre : point == Point::kMid ? SiteKind::kResidMid : SiteKind::kResidPost, layer};
}

Route route_of(const Intervention& intervention, const HostRun& host, const Model& model) {
  const Config& config = model.config();
  Route route;
  if (intervention.edits.empty()) {
    route = {.way = Way::kStream, .layer = static_cast<int>(config.n_layers) - 1, .position = host.length()};
    return route;
  }
  bool alone = false, same = true;
  route.layer = static_cast<int>(config.n_layers);
  route.position = host.length();
  const Site first = intervention.edits[0].site;
  for (const Edit& e : intervention.edits) {
    if (!site_exists(e.site, config))
      throw Error(ErrorKind::kNotFound, "site \"{}\" does not exist in this model (`microtome inspect` lists all)",
                  site_name(e.site));
    if (e.op == EditOp::kMean)
      throw Error(ErrorKind::kInvalidArgument, "{}: a sweep takes means as values, not the operation `mean`", site_name(e.site));
    alone = alone || e.op == EditOp::kCustom || !site_in_block(e.site.kind);
    same = same && e.site == first;
    route.layer = std::min(route.layer, e.site.layer);
    route.position = std::min(route.position, std::clamp<int64_t>(positions_of(e.where, host.length()).begin, 0, host.length()));
  }
  if (alone) return {.way = Way::kAlone};
  route.way = same ? way_of(first.kind, model.compute() == Compute::kBF16) : Way::kWhole;
  route.point = route.way == Way::kWhole ? Point::kPre : point_of(first.kind, config);
  return route;
}

Route route_on(std::span<const Edit> base, Route route, const Intervention& own, Intervention& with_base) {
  with_base = own;
  if (base.empty() || own.edits.empty()) return route;
  // A base edit of the first block's input is in the stream that its host holds already.
  const bool alone = route.way == Way::kAlone || std::any_of(base.begin(), base.end(), [&](const Edit& e) {
                       return !site_in_block(e.site.kind) || e.site == Site{SiteKind::kResidPre, route.layer} ||
                              (e.op == EditOp::kCustom && e.site.layer >= route.layer);
                     });
  std::vector<Edit> edits;
  for (const Edit& e : base)
    if (alone || e.site.layer >= route.layer) edits.push_back(e);
  if (edits.empty()) return route;
  edits.insert(edits.end(), own.edits.begin(), own.edits.end());
  with_base.edits = std::move(edits);
  if (alone) return {.way = Way::kAlone};
  route.way = Way::kWhole;
  route.point = Point::kPre;
  return route;
}

std::vector<SiteKind> needs_of(const Route& route, const Intervention& intervention, const Config& config) {
  using enum SiteKind;
  std::vector<SiteKind> out;
  if (route.way == Way::kAlone || intervention.edits.empty()) return out;
  out = {kResidPre, kQ};
  const SiteKind kind = intervention.edits[0].site.kind;
  if (route.way == Way::kWhole) return out;
  if (!one_of(kind, {kRotQ, kRotK, kAttnScores, kPattern})) out.push_back(kind);
  if (route.way == Way::kHeads) out.insert(out.end(), {kK, kV, kZ});
  if (route.point != Point::kPre) out.push_back(stream_site(route.point, 0).kind);
  if (route.way == Way::kStream && config.has_mlp() && kind == kAttnOut)
    out.push_back(stream_site(after_attention(config), 0).kind);
  return out;
}

void RowStore::begin(int64_t item) { parts_.push_back({item, {}, rows()}); }

float* RowStore::add_row(int32_t position) {
  parts_.back().positions.push_back(position);
  data_.resize(data_.size() + width_);
  return data_.data() + data_.size() - width_;
}

void RowStore::end() {
  if (parts_.back().positions.empty()) parts_.pop_back();
}

Tensor RowStore::tensor(Arena& arena) const {
  Tensor t = Tensor::empty({rows(), width_}, arena);
  std::copy(data_.begin(), data_.end(), t.f32());
  return t;
}

Tensor edited_value(const Intervention& intervention, const HostRun& host) {
  const Site site = intervention.edits[0].site;
  std::vector<int32_t> positions(host.length());
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<int32_t>(i);
  const StepRows rows{&host, nullptr, positions};
  const Batch batch = step_batch({&rows, 1});
  SiteValue value{site, &batch, -1, host.at(site.kind, site.layer).clone()};
  for (const Edit& e : intervention.edits) write_edit(e, value, 0);
  return value.data;
}

void enter_stream(const Route& route, const Intervention& intervention, const HostRun& host, const Config& config, int64_t item,
                  RowStore& out) {
  if (intervention.edits.empty()) return;
  const Site site = intervention.edits[0].site;
  const Tensor before = host.at(site.kind, site.layer), after = edited_value(intervention, host);
  const bool added = site.kind == SiteKind::kAttnOut || site.kind == SiteKind::kMlpOut;
  const Tensor* stream = added ? &host.at(stream_site(route.point, 0).kind, route.layer) : nullptr;
  const int64_t d = config.d_model;
  out.begin(item);
  for (int64_t p = route.position; p < host.length(); ++p) {
    const float *a = before.f32() + p * d, *b = after.f32() + p * d;
    if (std::memcmp(a, b, static_cast<size_t>(d) * sizeof(float)) == 0) continue;
    float* row = out.add_row(static_cast<int32_t>(p));
    for (int64_t i = 0; i < d; ++i) row[i] = added ? stream->f32()[p * d + i] + (b[i] - a[i]) : b[i];
  }
  out.end();
}

}  // namespace microtome::sweep
