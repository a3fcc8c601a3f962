#include "microtome/api/heads_texts.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace microtome::api {
namespace {

using heads::Measure;
using heads::ProbeText;

constexpr int64_t kDefaultBlock = 60;

std::optional<Measure> parse_measure(const std::optional<std::string>& name) {
  if (!name) return {};
  for (const Measure m : {Measure::kMul, Measure::kAbs, Measure::kStripe})
    if (heads::measure_name(m) == *name) return m;
  throw FieldError("measure", fmt::format("measure \"{}\": expected mul, abs or stripe", printable(*name)));
}

void repeat(ProbeText& text, int64_t n, int64_t context) {
  if (n > text.length()) throw FieldError("repeat", fmt::format("--repeat {}: the text has only {} tokens", n, text.length()));
  if (2 * n > context)
    throw FieldError("repeat", fmt::format("--repeat {}: {} tokens are more than the model's context of {}", n, 2 * n, context));
  text.ids.resize(static_cast<size_t>(n));
  const std::vector<int32_t> once = text.ids;
  text.ids.insert(text.ids.end(), once.begin(), once.end());
  text.block = n;
}

void bind_edits(const Context& context, const HeadsOptions& o, HeadTexts& out) {
  if (o.edits.empty()) return;
  if (o.patterns) throw FieldError("edits", "patterns from elsewhere cannot be edited: nothing runs");
  int64_t longest = 0;
  for (const ProbeText& t : out.texts) longest = std::max(longest, t.length());
  add_edits(context, o.edits, o.input.value_or(InputOptions{.bos = o.bos}), out.edits, longest);
  if (!o.verify) return;
  for (const Edit& e : out.edits.edits())
    if (e.op == EditOp::kMean)
      throw FieldError("edits",
                       fmt::format("{}: --verify cannot be combined with an edit to the mean; give set or zero, or leave "
                                   "--verify out",
                                   site_name(e.site)));
}

HeadTexts texts_of(const Context& context, const HeadsOptions& o) {
  HeadTexts out;
  out.score = {.measure = parse_measure(o.measure), .exclude_bos = o.exclude_bos, .exclude_current = o.exclude_current};
  if (o.block && o.repeat)
    throw FieldError("repeat", "--block says that the text repeats, --repeat makes such a text; give one of them");
  const int64_t most = context.model->config().context;
  if (!o.input) {
    if (o.patterns) throw FieldError("patterns", "patterns from elsewhere need the tokens they belong to; give --tokens");
    const int64_t block = o.repeat.value_or(o.block.value_or(std::min(kDefaultBlock, (most - 1) / 2)));
    out.texts.push_back(heads::random_text(*context.model, {.block = block, .seed = o.seed, .bos = o.bos.value_or(false)}));
    out.kind = "random tokens, said twice";
    return out;
  }
  out.kind = "given";
  for (std::vector<int32_t>& ids : encode_input(context, *o.input)) {
    ProbeText text{.ids = std::move(ids)};
    if (o.repeat) repeat(text, *o.repeat, most);
    else heads::find_block(text, o.block);
    out.texts.push_back(std::move(text));
  }
  // One measure for all: where one does not repeat, none is taken as a block.
  for (const ProbeText& t : out.texts)
    if (t.block == 0 && out.score.measure != Measure::kStripe)
      for (ProbeText& other : out.texts) other.block = other.start = 0;
  return out;
}

}  // namespace

HeadTexts head_texts(const Context& context, const HeadsOptions& o) {
  HeadTexts out = texts_of(context, o);
  bind_edits(context, o, out);
  return out;
}

Json texts_json(const HeadTexts& t, const HeadsOptions& o) {
  Json lengths = Json::array(), tokens = Json::array();
  for (const ProbeText& text : t.texts) lengths.push_back(text.length());
  for (const int32_t id : t.texts[0].ids) tokens.push_back(id);
  return {{"kind", t.kind},
          {"lengths", lengths},
          {"block", t.texts[0].block ? Json(t.texts[0].block) : Json()},
          {"start", t.texts[0].start},
          {"seed", o.input ? Json() : Json(o.seed)},
          {"tokens", tokens}};
}

}  // namespace microtome::api
