#include "microtome/model/plan.h"

#include <cstring>

#include "microtome/base/error.h"
#include "microtome/ops/rows.h"

namespace microtome {
namespace {

void check_range(const std::optional<Range>& range, int64_t size, const char* what, const Site& site) {
  if (!range) return;
  if (range->begin < 0 || range->begin >= range->end || range->end > size)
    throw Error(ErrorKind::kInvalidArgument, "{}: {} {}:{} is outside of 0:{}", site_name(site), what, range->begin, range->end,
                size);
}

void check_site(const Site& site, const Config& config) {
  if (!site_exists(site, config))
    throw Error(ErrorKind::kNotFound, "site \"{}\" does not exist in this model (`microtome inspect` lists all)",
                site_name(site));
}

void check_edit(const Edit& edit, const Config& config) {
  check_site(edit.site, config);
  const SiteShape shape = site_shape(edit.site.kind);
  const int64_t heads = site_heads(shape, config);
  if (edit.where.head && heads == 1 && shape != SiteShape::kHeads && shape != SiteShape::kKvHeads &&
      shape != SiteShape::kHeadStream && shape != SiteShape::kKvHeadStream && shape != SiteShape::kPattern)
    throw Error(ErrorKind::kInvalidArgument, "{} has no heads; leave out head=", site_name(edit.site));
  check_range(edit.where.head, heads, "head", edit.site);
  if (shape != SiteShape::kPattern) check_range(edit.where.neuron, site_width(shape, config), "neuron", edit.site);
}

}  // namespace

Range positions_of(const Slice& slice, int64_t prompt_length) {
  if (!slice.pos) return {slice.generated ? prompt_length : 0, INT64_MAX};
  const auto [begin, end] = *slice.pos;
  return {begin < 0 ? prompt_length + begin : begin, begin < 0 && end <= 0 ? prompt_length + end : end};
}

Plan& Plan::edit(Edit e) {
  edits_.push_back(std::move(e));
  return *this;
}

Plan& Plan::read(Site site, SiteSink sink) {
  reads_.push_back({site, std::move(sink), false});
  return *this;
}

Plan& Plan::gradient(Site site, SiteSink sink) {
  reads_.push_back({site, std::move(sink), true});
  return *this;
}

Plan& Plan::attention_mass(std::shared_ptr<const KeyLists> lists, MassSink sink) {
  MT_CHECK(lists && !mass_lists_);
  mass_lists_ = std::move(lists);
  mass_sink_ = std::move(sink);
  return *this;
}

Tensor take_slice(const SiteValue& value, const Slice& slice) {
  const Tensor& x = value.data;
  const bool pattern = value.sequence >= 0;
  const int64_t heads = pattern ? x.size(0) : x.rank() == 3 ? x.size(1) : 1, width = x.size(-1);
  check_range(slice.head, heads, "head", value.site);
  check_range(slice.neuron, width, "neuron", value.site);
  const Range h = slice.head.value_or(Range{0, heads}), w = slice.neuron.value_or(Range{0, width});
  const int64_t nh = h.end - h.begin, nw = w.end - w.begin;
  const int64_t rows = pattern ? x.size(1) : x.size(0);
  Tensor y = pattern ? Tensor::empty({nh, rows, nw}) : x.rank() == 3 ? Tensor::empty({rows, nh, nw}) : Tensor::empty({rows, nw});
  for (int64_t i = 0; i < nh; ++i)
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = pattern ? (h.begin + i) * rows + r : r * heads + h.begin + i;
      const int64_t to = pattern ? i * rows + r : r * nh + i;
      std::memcpy(y.f32() + to * nw, x.f32() + from * width + w.begin, static_cast<size_t>(nw) * sizeof(float));
    }
  return y;
}

ActivePlan::ActivePlan(const Plan& plan, const Config& config) : plan_(&plan), config_(config) {
  if (plan.empty()) return;
  actions_.resize((config.n_layers + 1) * kSiteKinds);
  const auto slot = [&](const Site& s) -> std::vector<Action>& {
    return actions_[(s.layer + 1) * kSiteKinds + static_cast<int>(s.kind)];
  };
  for (const Edit& e : plan.edits()) {
    check_edit(e, config);
    slot(e.site).push_back({&e, nullptr});
  }
  for (const Read& r : plan.reads()) {
    check_site(r.site, config);
    slot(r.site).push_back({nullptr, &r});
  }
}

bool ActivePlan::any_of(std::initializer_list<SiteKind> kinds, int layer) const {
  if (plan_->empty()) return false;
  for (const SiteKind kind : kinds)
    if (!at(kind, layer).empty()) return true;
  return false;
}

bool ActivePlan::alters(std::initializer_list<SiteKind> kinds, int layer) const {
  if (plan_->empty()) return false;
  for (const SiteKind kind : kinds)
    for (const Action& a : at(kind, layer))
      if (a.edit || a.read->gradient) return true;
  return false;
}

bool ActivePlan::reads(std::initializer_list<SiteKind> kinds, int layer) const {
  if (plan_->empty()) return false;
  for (const SiteKind kind : kinds)
    for (const Action& a : at(kind, layer))
      if (a.read && !a.read->gradient) return true;
  return false;
}

Value ActivePlan::visit(Tape* tape, const OpContext& ctx, const Batch& batch, Site site, int sequence, const Value& value) const {
  Value v = value;
  for (const Action& a : at(site.kind, site.layer)) {
    if (a.edit) {
      v = apply_edit(tape, ctx, batch, config_, *a.edit, site, sequence, v);
    } else if (!a.read->gradient) {
      a.read->sink({site, &batch, sequence, v.data});
    } else if (tape) {
      v = tape->tap(v, [sink = a.read->sink, site, batch = &batch, sequence](const Tensor& g) {
        sink({site, batch, sequence, g});
      });
    }
  }
  return v;
}

Value ActivePlan::visit_per_head(Tape* tape, const OpContext& ctx, const Batch& batch, Site site, const Value& value) const {
  Value v = value;
  for (const Action& a : at(site.kind, site.layer)) {
    if (a.edit) {
      v = apply_edit(tape, ctx, batch, config_, *a.edit, site, -1, v);
    } else if (a.read->gradient && tape) {
      v = tape->tap(v, [sink = a.read->sink, site, batch = &batch, ctx](const Tensor& g) {
        sink({site, batch, -1, SumHeads::forward(ctx, {g.size(1)}, {g}, nullptr)});
      });
    }
  }
  return v;
}

}  // namespace microtome
