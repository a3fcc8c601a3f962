#include "microtome/circuits/heads/probe.h"

#include <algorithm>
#include <set>

#include "microtome/base/error.h"
#include "microtome/base/rng.h"

namespace microtome::heads {
namespace {

bool ordinary(const Tokenizer* t, int32_t id) {
  return !t || (id < t->vocab_size() && !t->is_special(id) && !t->token_bytes(id).empty());
}

// The first i >= start + n whose token is not that of i - n; -1: none.
int64_t first_break(const std::vector<int32_t>& ids, int64_t start, int64_t n) {
  for (int64_t i = start + n; i < std::ssize(ids); ++i)
    if (ids[i] != ids[i - n]) return i;
  return -1;
}

}  // namespace

Plan edited_plan(const Plan* edits) {
  Plan plan;
  if (edits)
    for (const Edit& e : edits->edits()) plan.edit(e);
  return plan;
}

TextRun::TextRun(const Model& model, const std::vector<int32_t>& ids, Plan plan, const Progress* progress) : model_(model) {
  const bool whole =
      std::any_of(plan.edits().begin(), plan.edits().end(), [](const Edit& e) { return !site_in_block(e.site.kind); });
  plan.logit_rows = whole ? LogitRows::kAll : LogitRows::kNone;
  Batch batch;
  batch.add_sequence(ids);
  const Forward run = forward(model, {.batch = batch, .plan = &plan, .progress = progress});
  stream_ = run.residual.data;
  if (whole) logits_ = run.logits.data;
}

Tensor TextRun::logits(int64_t begin, int64_t end) const {
  return logits_.defined() ? logits_.slice(begin, end) : unembed(model_, stream_.slice(begin, end));
}

ProbeText random_text(const Model& model, const RandomText& o) {
  const Config& c = model.config();
  const Tokenizer* tokenizer = model.tokenizer();
  const bool bos = o.bos && tokenizer && tokenizer->bos();
  const int64_t length = o.block * o.times + (bos ? 1 : 0);
  if (o.block < 1 || length > c.context)
    throw Error(ErrorKind::kInvalidArgument, "{} random tokens, {} times, do not fit the model's context of {}; give fewer",
                o.block, o.times, c.context);
  const Philox rng(o.seed, o.purpose);
  const auto cut = static_cast<int64_t>(o.trim * static_cast<double>(c.vocab));
  const int64_t range = c.vocab - 2 * cut;
  const bool distinct = o.distinct && range >= 4 * o.block;
  ProbeText text{.block = o.times > 1 ? o.block : 0, .start = bos ? 1 : 0};
  if (bos) text.ids.push_back(*tokenizer->bos());
  std::set<int32_t> used;
  std::vector<int32_t> block;
  for (uint64_t drawn = 0; std::ssize(block) < o.block; ++drawn) {
    if (drawn > 1000 + 100 * static_cast<uint64_t>(o.block))
      throw Error(ErrorKind::kUnsupported, "random text: next to no token of this vocabulary is an ordinary one; give --tokens");
    const auto id = static_cast<int32_t>(cut + static_cast<int64_t>(rng.below(static_cast<uint64_t>(range), drawn, o.index)));
    if (!ordinary(tokenizer, id) || (distinct && !used.insert(id).second)) continue;
    block.push_back(id);
  }
  for (int64_t i = 0; i < o.times; ++i) text.ids.insert(text.ids.end(), block.begin(), block.end());
  return text;
}

void find_block(ProbeText& text, std::optional<int64_t> block) {
  const int64_t n = text.length();
  text.block = text.start = 0;
  if (block) {
    if (*block < 1 || *block >= n)
      throw Error(ErrorKind::kInvalidArgument, "a block of {} tokens cannot be repeated in a text of {}", *block, n);
    for (int64_t start = 0; start < 2 && start + *block < n; ++start)
      if (first_break(text.ids, start, *block) < 0) {
        text.block = *block;
        text.start = start;
        return;
      }
    const int64_t at = first_break(text.ids, 0, *block);
    throw Error(ErrorKind::kInvalidArgument,
                "the text is not a block of {} tokens repeated: position {} has token {}, position {} has {}; give the block's "
                "length, or --repeat {} to say its first {} tokens twice",
                *block, at - *block, text.ids[at - *block], at, text.ids[at], *block, *block);
  }
  for (int64_t size = 2; 2 * size <= n; ++size)
    for (int64_t start = 0; start < 2 && start + 2 * size <= n; ++start)
      if (first_break(text.ids, start, size) < 0) {
        text.block = size;
        text.start = start;
        return;
      }
}

ProbeText control_text(const Model& model, const ProbeText& text, uint64_t seed) {
  ProbeText out = text;
  if (text.block > 0) {
    out.run_as =
        random_text(model, {.block = text.length(), .times = 1, .seed = seed, .purpose = "heads.control", .distinct = true}).ids;
    std::copy_n(text.ids.begin(), text.start, out.run_as.begin());
    return out;
  }
  out.run_as = text.ids;
  const Philox rng(seed, "heads.shuffle");
  for (int64_t i = out.length() - 1; i > out.start; --i)
    std::swap(out.run_as[i],
              out.run_as[out.start + static_cast<int64_t>(rng.below(static_cast<uint64_t>(i - out.start + 1), i))]);
  return out;
}

}  // namespace microtome::heads
