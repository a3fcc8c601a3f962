#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/request.h"
#include "microtome/model/capture.h"

namespace microtome::api {
namespace {

[[noreturn]] void bad(const std::string& message) { throw FieldError("edits", "edit: " + message); }

int64_t whole(std::string_view text, const char* what) {
  constexpr int64_t kMost = int64_t{1} << 40;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < -kMost || value > kMost)
    bad(fmt::format("{} is \"{}\", expected a number or A:B", what, printable(text)));
  return value;
}

double real(std::string_view text, const char* what) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(static_cast<float>(value)))
    bad(fmt::format("{} is \"{}\", expected a number", what, printable(text)));
  return value;
}

// Lens vectors are about 1 long and streams at most thousands: far below what overflows in a norm, far above what means anything.
constexpr double kMostLensFactor = 1e6;

// "LENS@LAYER" cut into its parts; nothing without an @, which no site has.
std::optional<std::pair<std::string, int64_t>> lens_of(std::string_view site) {
  const size_t at = site.rfind('@');
  if (at == std::string_view::npos) return {};
  auto lens = lens_and_layer(site);
  if (!lens && at == 0) bad(fmt::format("\"{}\": the lens before @ is missing, as in LENS@20", printable(site)));
  if (!lens)
    bad(fmt::format("\"{}\": the layer behind @ is \"{}\", expected one number from 0, as in LENS@20", printable(site),
                    printable(site.substr(at + 1))));
  return lens;
}

// The factor behind the last star of "TOKEN*X", none if no number stands there: a token may hold a star.
std::optional<double> lens_factor(std::string_view text) {
  double value = 0;
  if (text.starts_with('+')) text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || error == std::errc::invalid_argument) return {};
  if (error != std::errc() || !(std::abs(value) <= kMostLensFactor))  // nan, inf, 1e999 too
    bad(fmt::format("the factor of add:TOKEN*X is \"{}\", expected a number from -1e6 to 1e6", printable(text)));
  return value;
}

// "N" or "A:B"; a negative N counts from the end, where `signed_` allows it.
Range range_of(std::string_view text, const char* what, bool signed_) {
  Range r;
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) {
    r.begin = whole(text, what);
    r.end = r.begin + 1;
  } else {
    r.begin = whole(text.substr(0, colon), what);
    r.end = whole(text.substr(colon + 1), what);
  }
  // A range with a negative begin may end at the prompt's end, 0, or before it.
  const bool ordered = r.begin < r.end || (r.begin < 0 && r.end > 0);
  if ((r.begin < 0 && !signed_) || !ordered)
    bad(fmt::format("{} is \"{}\", expected {}", what, printable(text),
                    signed_ ? "N or A:B with A < B" : "N or A:B with 0 <= A < B"));
  return r;
}

void set_position(Slice& where, std::string_view text) {
  if (text == "gen") where.generated = true;
  else where.pos = range_of(text, "pos", true);
}

void set_source(EditOptions& edit, std::string text) {
  edit.op = EditOp::kSet;
  const size_t at = text.rfind('@');
  if (at != std::string::npos && at + 1 < text.size() && text.find_first_not_of("-0123456789", at + 1) == std::string::npos) {
    edit.from_pos = whole(std::string_view(text).substr(at + 1), "position after @");
    text.resize(at);
  }
  edit.from = text;
}

// What LENS@LAYER= is followed by: add:TOKEN*X, ablate:TOKEN, swap:A:B, as a word and the rest.
void set_lens_operation(LensEdit& lens, std::string_view word, std::string_view value) {
  if (word == "add") lens.op = LensEdit::Op::kAdd;
  else if (word == "ablate") lens.op = LensEdit::Op::kAblate;
  else if (word == "swap") lens.op = LensEdit::Op::kSwap;
  else
    bad(fmt::format("{}@{}={}: expected add:TOKEN*X, ablate:TOKEN or swap:A:B", printable(lens.name), lens.layer,
                    printable(word)));
  const size_t star = value.rfind('*');
  if (word == "add" && star != std::string_view::npos && star > 0) {
    if (const auto factor = lens_factor(value.substr(star + 1))) {
      lens.factor = *factor;
      value = value.substr(0, star);
    }
  }
  if (value.empty()) bad(fmt::format("{}@{}={}: a token is missing", printable(lens.name), lens.layer, word));
  lens.tokens = value;
}

Tensor scalar(double x) { return Tensor::from({static_cast<float>(x)}, {1}); }

// --- JSON
// ------------------------------------------------------------------------------------------------------------------------

std::string range_text(const Json& v, const char* what) {
  if (v.is_string()) return v.get<std::string>();
  if (v.is_number_integer()) return dump_json(v);
  bad(fmt::format("{} is not a number or \"A:B\"", what));
}

void flatten(const Json& v, size_t depth, Shape& shape, std::vector<float>& out) {
  if (v.is_number()) {
    if (depth != shape.size()) bad("value is not a regular array");
    out.push_back(static_cast<float>(v.get<double>()));
    return;
  }
  if (!v.is_array() || v.empty() || depth >= 4) bad("value is not a number or a regular array of numbers (at most 4 dimensions)");
  if (depth == shape.size()) {
    if (!out.empty()) bad("value is not a regular array");
    shape.push_back(static_cast<int64_t>(v.size()));
  }
  if (shape[depth] != static_cast<int64_t>(v.size())) bad("value is not a regular array: its rows differ in length");
  for (const Json& e : v) flatten(e, depth + 1, shape, out);
}

Tensor array_of(const Json& v) {
  Shape shape;
  std::vector<float> values;
  flatten(v, 0, shape, values);
  if (shape.empty()) shape = {1};
  return Tensor::from(std::move(values), shape);
}

}  // namespace

EditOptions parse_edit(const std::string& text, const std::function<Tensor(const std::string&)>& load_array,
                       const std::function<std::shared_ptr<const FittedLens>(const std::string&)>& load_lens) {
  EditOptions edit;
  std::string_view rest = text;
  size_t stop = rest.find_first_of(",=");
  if (stop == std::string_view::npos || stop == 0)
    bad(fmt::format("\"{}\" is not SITE[,pos=..][,head=..][,neuron=..]=OP, as in blocks.5.attn.hook_z,head=3=zero",
                    printable(text)));
  edit.site = rest.substr(0, stop);
  rest.remove_prefix(stop);
  while (rest.starts_with(',')) {
    rest.remove_prefix(1);
    const size_t equals = rest.find('=');
    const std::string_view key = rest.substr(0, equals);
    if (equals == std::string_view::npos || (key != "pos" && key != "head" && key != "neuron"))
      bad(fmt::format("\"{}\" after the site is not pos=, head= or neuron=", printable(key)));
    rest.remove_prefix(equals + 1);
    stop = rest.find_first_of(",=");
    const std::string_view value = rest.substr(0, stop);
    if (key == "pos") set_position(edit.where, value);
    else (key == "head" ? edit.where.head : edit.where.neuron) = range_of(value, key == "head" ? "head" : "neuron", false);
    rest.remove_prefix(std::min(rest.size(), value.size()));
  }
  if (!rest.starts_with('='))
    bad(fmt::format("\"{}\" does not say what to do: end it with =zero, =mean, =scale:X, =add:F.npy, =set:F.npy or =from:TEXT",
                    printable(text)));
  rest.remove_prefix(1);
  if (auto lens = lens_of(edit.site)) {
    edit.lens.emplace();
    edit.lens->name = lens->first;
    edit.lens->layer = lens->second;
    const size_t colon = std::min(rest.find(':'), rest.size());
    set_lens_operation(*edit.lens, rest.substr(0, colon), rest.substr(std::min(rest.size(), colon + 1)));
    edit.lens->lens = load_lens ? load_lens(lens->first) : open_lens(lens->first);
    return edit;
  }
  const auto argument = [&](std::string_view name) {
    return rest.starts_with(name) ? std::optional(std::string(rest.substr(name.size()))) : std::nullopt;
  };
  if (rest == "zero") {
    edit.op = EditOp::kZero;
  } else if (rest == "mean") {
    edit.op = EditOp::kMean;
  } else if (const auto x = argument("scale:")) {
    edit.op = EditOp::kScale;
    edit.factor = static_cast<float>(real(*x, "scale"));
  } else if (const auto file = argument("add:")) {
    edit.op = EditOp::kAdd;
    const size_t star = file->rfind('*');
    if (star != std::string::npos)
      edit.factor = static_cast<float>(real(std::string_view(*file).substr(star + 1), "factor after *"));
    edit.value = load_array(file->substr(0, star));
  } else if (const auto file = argument("set:")) {
    edit.op = EditOp::kSet;
    edit.value = load_array(*file);
  } else if (const auto source = argument("from:")) {
    set_source(edit, *source);
  } else {
    bad(fmt::format("\"{}\" is not one of zero, mean, scale:X, add:F.npy[*X], set:F.npy, from:TEXT[@pos]", printable(rest)));
  }
  return edit;
}

EditOptions edit_from_json(const Json& json) {
  if (!json.is_object()) bad("it is not an object {site, pos, head, neuron, op, value}");
  EditOptions edit;
  std::string op;
  const Json* value = nullptr;
  for (const auto& [key, v] : json.items()) {
    if (v.is_null()) continue;
    if (key == "site" && v.is_string()) edit.site = v.get<std::string>();
    else if (key == "op" && v.is_string()) op = v.get<std::string>();
    else if (key == "value") value = &v;
    else if (key == "pos") set_position(edit.where, range_text(v, "pos"));
    else if (key == "head") edit.where.head = range_of(range_text(v, "head"), "head", false);
    else if (key == "neuron") edit.where.neuron = range_of(range_text(v, "neuron"), "neuron", false);
    else if (key == "site" || key == "op") bad(fmt::format("{} is not a string", key));
    else bad(fmt::format("unknown field \"{}\"; known are site, pos, head, neuron, op, value", printable(key)));
  }
  if (edit.site.empty()) bad("site is missing");
  if (auto lens = lens_of(edit.site)) {
    if (!value || !value->is_string()) bad(fmt::format("{} needs a text as value: TOKEN*X, TOKEN or A:B", printable(edit.site)));
    edit.lens.emplace();
    edit.lens->name = lens->first;
    edit.lens->layer = lens->second;
    set_lens_operation(*edit.lens, op, value->get_ref<const std::string&>());
    edit.lens->lens = lens->first == "logit" ? nullptr : lens_of_field("edits", lens->first);
    return edit;
  }
  if (op == "zero") {
    edit.op = EditOp::kZero;
  } else if (op == "mean") {
    edit.op = EditOp::kMean;
  } else if (op == "scale") {
    if (!value || !value->is_number()) bad("scale needs a number as value");
    edit.op = EditOp::kScale;
    edit.factor = value->get<float>();
    if (!std::isfinite(edit.factor)) bad(fmt::format("scale is {}, expected a number", dump_json(*value)));
  } else if (op == "add" || op == "set") {
    if (!value || value->is_string()) bad(fmt::format("{} needs a number or an array as value (files cannot be named here)", op));
    edit.op = op == "add" ? EditOp::kAdd : EditOp::kSet;
    edit.value = value->is_number() ? scalar(value->get<double>()) : array_of(*value);
  } else if (op == "from") {
    if (!value || !value->is_string()) bad("from needs a text[@pos] as value");
    set_source(edit, value->get<std::string>());
  } else {
    bad(op.empty() ? "op is missing" : fmt::format("op \"{}\" is not one of zero, mean, scale, add, set, from", printable(op)));
  }
  return edit;
}

namespace {

// One unedited run of another prompt that keeps the edit's sites.
void capture_source(const Context& context, const EditOptions& edit, const std::vector<Site>& sites,
                    const std::vector<int32_t>& ids, Capture& capture) {
  Plan plan;
  for (const Site& site : sites) capture.read(plan, site, {.head = edit.where.head, .neuron = edit.where.neuron});
  plan.logit_rows = LogitRows::kNone;
  int last = -1;
  bool in_layers = true;
  for (const Site& site : sites) {
    last = std::max(last, site.layer);
    in_layers = in_layers && site.layer >= 0;
  }
  if (in_layers) plan.stop_after_layer = last;
  Batch batch;
  batch.add_sequence(ids);
  forward(*context.model, {.batch = batch, .plan = &plan, .progress = context.progress});
}

// The site's value in the run of another prompt of n tokens, shaped for the slice: one position, or the slice's own positions.
Tensor source_value(const EditOptions& edit, const Site& site, int64_t n, const Tensor& all) {
  Range rows{0, n};
  if (edit.from_pos) {
    rows.begin = *edit.from_pos < 0 ? n + *edit.from_pos : *edit.from_pos;
    rows.end = rows.begin + 1;
  } else if (edit.where.pos) {
    rows.begin = edit.where.pos->begin < 0 ? n + edit.where.pos->begin : edit.where.pos->begin;
    rows.end = edit.where.pos->begin < 0 && edit.where.pos->end <= 0 ? n + edit.where.pos->end : edit.where.pos->end;
  } else if (edit.where.generated) {
    rows.begin = n - 1;
  }
  if (rows.begin < 0 || rows.begin >= rows.end || rows.end > n)
    bad(fmt::format("{}: position {} is outside of the other prompt's {} tokens", site_name(site),
                    edit.from_pos.value_or(rows.begin), n));
  if (site_shape(site.kind) != SiteShape::kPattern)
    return all.view(Shape(all.shape().begin() + 1, all.shape().end())).slice(rows.begin, rows.end);
  const int64_t heads = all.size(1), count = rows.end - rows.begin;
  Tensor out = Tensor::empty({heads, count, n});
  for (int64_t h = 0; h < heads; ++h) std::copy_n(all.f32() + (h * n + rows.begin) * n, count * n, out.f32() + h * count * n);
  return out;
}

}  // namespace

void add_edits(const Context& context, const std::vector<EditOptions>& edits, const InputOptions& input, Plan& plan,
               int64_t positions) {
  const Config& config = context.model->config();
  for (const EditOptions& e : edits) {
    if (e.where.pos && e.where.pos->begin >= positions)
      bad(fmt::format("pos {} is beyond the {} position{} of this run", e.where.pos->begin, positions,
                      positions == 1 ? "" : "s"));
    if (e.lens) {
      plan.edit(bind_lens_edit(*context.model, *e.lens, e.where));
      continue;
    }
    std::vector<int32_t> source;
    if (e.from) {
      source = encode_text(context, *e.from, input.bos, input.chat);
      if (source.empty() || std::ssize(source) > config.context)
        bad(fmt::format("the other prompt has {} tokens, expected 1 to {}", source.size(), config.context));
    }
    const std::vector<Site> sites = match_sites(e.site, config);
    Capture capture(1);
    if (e.from) capture_source(context, e, sites, source, capture);
    for (const Site& site : sites) {
      Edit edit;
      edit.site = site;
      edit.where = e.where;
      edit.op = e.op;
      edit.factor = e.factor;
      // `set` always means the value itself.
      edit.value = e.from ? source_value(e, site, std::ssize(source), capture.array(site)) : e.value;
      plan.edit(std::move(edit));
    }
  }
}

}  // namespace microtome::api
