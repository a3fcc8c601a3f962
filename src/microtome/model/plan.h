// Plan: what a caller wants from forward passes: read these sites, edit those, gradients at these, stop after the last
// layer that matters, logits of these rows.
//
//   Plan plan;
//   plan.edit({.site = {SiteKind::kZ, 17}, .where = {.head = Range{4, 5}}, .op = EditOp::kZero});
//   plan.read({SiteKind::kResidPost, 17}, [&](const SiteValue& v) { ... });
//
// Edits at a site run in the order given; reads and gradients see the value after them. An empty plan costs nothing. A plan
// may serve many passes of one run (prompt, then token by token): means taken over the prompt are kept for what follows.
// One thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "microtome/model/batch.h"
#include "microtome/model/site.h"
#include "microtome/tape/tape.h"

namespace microtome {

struct Range {
  int64_t begin = 0, end = 0;  // end excluded
};

// Which part of a site: positions (negative: from the prompt's end; `generated`: every generated token), heads, values within
// a head. On scores and patterns the position is the query's, and `neuron` is the key.
struct Slice {
  std::optional<Range> pos;
  bool generated = false;
  std::optional<Range> head, neuron;
};

// The positions that a slice names in a sequence with such a prompt: [begin, end), as given (begin may lie below 0), end
// INT64_MAX where it is open.
Range positions_of(const Slice& slice, int64_t prompt_length);

// What one pass shows at one site.
struct SiteValue {
  Site site;
  const Batch* batch = nullptr;
  int sequence = -1;  // scores and patterns come sequence by sequence: data is [H, rows of it, keys]
  Tensor data;        // else [rows, heads.., width]; lies in the pass's arena: copy what must outlive the call
};

enum class EditOp : uint8_t {
  kZero,
  kMean,    // over the real prompt positions of all prompts of the run, per head and value, taken before this edit
  kScale,   // times factor
  kAdd,     // plus value * factor
  kSet,     // value
  kCustom,  // whatever `custom` writes; no gradient flows back through what it changed
};

struct Edit {
  Site site;
  Slice where;
  EditOp op = EditOp::kZero;
  float factor = 1;
  // kAdd, kSet: dense f32, broadcast (aligned right, as in NumPy) to the slice: positions x heads x values for most sites,
  // heads x queries x keys for patterns; a further first dimension is the sequence. Rows beyond its positions are left alone.
  Tensor value;
  std::function<void(SiteValue&)> custom;  // writes data in place

  // kMean's means, kept from the pass over the prompt.
  std::shared_ptr<std::vector<double>> mean = std::make_shared<std::vector<double>>();
};

using SiteSink = std::function<void(const SiteValue&)>;

struct Read {
  Site site;
  SiteSink sink;
  bool gradient = false;
};

// What one layer's heads attend to: mass [rows, H, lists.width()] on the lists' keys (kernels/attention_statistics.h). Attention
// stays fused for it.
using MassSink = std::function<void(int layer, std::span<const double> mass)>;

enum class LogitRows : uint8_t { kAll, kLast, kNone, kChosen };

class Plan {
 public:
  Plan& edit(Edit e);
  Plan& read(Site site, SiteSink sink);
  // Called during Tape::backward with the gradient at the site (after its edits), possibly in several parts, to be added up.
  Plan& gradient(Site site, SiteSink sink);

  // In every layer: the attention that each query (row of the pass; one row of `lists` for each) gives to listed keys, after all
  // edits. At most one for each plan, and only where a pass has as many rows as `lists`.
  Plan& attention_mass(std::shared_ptr<const KeyLists> lists, MassSink sink);
  const KeyLists* mass_lists() const { return mass_lists_.get(); }
  const MassSink& mass_sink() const { return mass_sink_; }

  // Rows (of the pass) whose logits are wanted: all, each sequence's last (the default), none, or these.
  LogitRows logit_rows = LogitRows::kLast;
  std::vector<int32_t> chosen_rows;
  // Only these columns of the vocabulary, in this order; empty: all. Not together with reads or edits of the logits themselves.
  std::vector<int32_t> logit_columns;

  // No block after this one runs, and no logits are made; -1: all run.
  int stop_after_layer = -1;

  bool empty() const { return edits_.empty() && reads_.empty(); }
  const std::vector<Edit>& edits() const { return edits_; }
  const std::vector<Read>& reads() const { return reads_; }

 private:
  std::vector<Edit> edits_;
  std::vector<Read> reads_;
  std::shared_ptr<const KeyLists> mass_lists_;
  MassSink mass_sink_;
};

// Part of a value, as memory of its own: [rows, heads, width] (or [heads, rows, keys] for patterns) cut to heads and values;
// positions stay whole. Throws InvalidArgument for a head or value that the site does not have.
Tensor take_slice(const SiteValue& value, const Slice& slice);

// A plan made ready for one pass: what happens at each site, in order.
class ActivePlan {
 public:
  // Throws NotFound for a site that the model does not have, InvalidArgument for a slice outside of it.
  ActivePlan(const Plan& plan, const Config& config);

  bool any(SiteKind kind, int layer) const { return !plan_->empty() && !at(kind, layer).empty(); }
  bool any_of(std::initializer_list<SiteKind> kinds, int layer) const;
  // Something there changes the value, or takes its gradient.
  bool alters(std::initializer_list<SiteKind> kinds, int layer) const;
  bool reads(std::initializer_list<SiteKind> kinds, int layer) const;
  const Plan& plan() const { return *plan_; }

  // The value after the site's edits, reads and gradient taps.
  Value visit(Tape* tape, const OpContext& ctx, const Batch& batch, Site site, int sequence, const Value& value) const;

  // A site that heads share, where each head has a stream of its own ([rows, heads, width]): edits apply to each, gradients
  // are summed over heads, reads are left out.
  Value visit_per_head(Tape* tape, const OpContext& ctx, const Batch& batch, Site site, const Value& value) const;

 private:
  struct Action {
    const Edit* edit = nullptr;
    const Read* read = nullptr;
  };
  const std::vector<Action>& at(SiteKind kind, int layer) const {
    return actions_[(layer + 1) * kSiteKinds + static_cast<int>(kind)];
  }

  const Plan* plan_;
  Config config_;
  std::vector<std::vector<Action>> actions_;
};

// One edit, applied and recorded (model/edit.cc).
Value apply_edit(Tape* tape, const OpContext& ctx, const Batch& batch, const Config& config, const Edit& edit, Site site,
                 int sequence, const Value& value);

// Writes an edit (not kMean or kCustom) into one sequence's part of a value, in place, as if that sequence were alone in the
// pass. On patterns and scores `value` is that sequence's own.
void write_edit(const Edit& edit, SiteValue& value, int sequence);

}  // namespace microtome
