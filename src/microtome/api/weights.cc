#include "microtome/api/weights.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "microtome/api/weights_verbs.h"
#include "microtome/base/edit_distance.h"
#include "microtome/base/split.h"

namespace microtome::api {
namespace {

using algebra::HeadId;

struct Verb {
  const char* name;
  Json (*rows)(const Context&, const WeightsOptions&);
  std::set<std::string> fields;  // that it uses, besides verb, top and seed
};

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> kVerbs{
      {"copying", copying_rows, {"heads", "layer", "head", "embedding", "own-top", "draws"}},
      {"matching", matching_rows, {"heads", "layer", "head", "embedding", "offset", "own-top", "draws"}},
      {"composition", composition_rows, {"heads", "layer", "head", "from", "to", "kind", "offset", "draws"}},
      {"pairs", pair_rows, {"heads", "layer", "head", "embedding", "offset", "circuit", "source"}},
      {"skip-trigrams", skip_trigram_rows, {"heads", "layer", "head", "embedding", "offset", "per-source"}},
      {"bigrams", bigram_rows, {"embedding", "source", "per-source"}},
      {"svd", svd_rows, {"heads", "layer", "head", "embedding", "offset", "circuit", "directions", "tokens"}},
      {"neurons", neuron_rows, {"layer", "embedding", "tokens"}},
      {"induction", induction_rows, {"heads", "layer", "head", "embedding", "offset"}},
      {"virtual", virtual_rows, {"heads", "layer", "head", "from", "to", "embedding", "draws"}},
      {"residual", residual_rows, {"layer", "show"}},
  };
  return kVerbs;
}

std::string verb_names() {
  std::string out;
  for (const Verb& v : verbs()) out += (out.empty() ? "" : ", ") + std::string(v.name);
  return out;
}

const Verb& find_verb(const std::string& name) {
  for (const Verb& v : verbs())
    if (name == v.name) return v;
  std::vector<std::string> names;
  for (const Verb& v : verbs()) names.emplace_back(v.name);
  throw FieldError("verb", fmt::format("there is no weights \"{}\"{}; expected one of {}", printable(name),
                                       did_you_mean(name, names), verb_names()));
}

bool whole(std::string_view text, int& value) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && stop == text.data() + text.size() && value >= 0;
}

// "17.3", "17.3,17.4", or a list of such.
std::vector<HeadId> head_list(Fields& f, const std::string& field) {
  std::vector<HeadId> out;
  for (const std::string& text : f.texts(field))
    for (const std::string& part : split(text)) {
      const size_t dot = part.find('.');
      HeadId id;
      if (dot == std::string::npos || !whole(std::string_view(part).substr(0, dot), id.layer) ||
          !whole(std::string_view(part).substr(dot + 1), id.head))
        throw FieldError(field, fmt::format("{} \"{}\": expected layer.head, as in 17.3,17.4", field, printable(part)));
      out.push_back(id);
    }
  return out;
}

std::vector<algebra::CompositionKind> kind_list(Fields& f) {
  using algebra::CompositionKind;
  std::vector<CompositionKind> out;
  for (const std::string& text : f.texts("kind"))
    for (const std::string& part : split(text)) {
      if (part == "q") out.push_back(CompositionKind::kQ);
      else if (part == "k") out.push_back(CompositionKind::kK);
      else if (part == "v") out.push_back(CompositionKind::kV);
      else throw FieldError("kind", fmt::format("kind \"{}\": expected q, k or v, as in q,k", printable(part)));
    }
  if (out.empty()) out = {CompositionKind::kQ, CompositionKind::kK, CompositionKind::kV};
  return out;
}

std::string choice(Fields& f, const std::string& field, std::initializer_list<const char*> choices, const char* otherwise) {
  const std::string value = f.text(field).value_or(otherwise);
  std::string names;
  for (const char* c : choices) {
    if (value == c) return value;
    names += (names.empty() ? "" : ", ") + std::string(c);
  }
  throw FieldError(field, fmt::format("{} \"{}\": expected one of {}", field, printable(value), names));
}

// Some head of `from` must lie below one of `to`.
void check_ends(const Config& c, const WeightsOptions& o) {
  int first = 0, last = static_cast<int>(c.n_layers) - 1;
  const auto below = [](const HeadId& a, const HeadId& b) { return a.layer < b.layer; };
  if (!o.from.empty()) first = std::min_element(o.from.begin(), o.from.end(), below)->layer;
  if (!o.to.empty()) last = std::max_element(o.to.begin(), o.to.end(), below)->layer;
  if ((o.from.empty() && o.to.empty()) || first < last) return;
  throw FieldError(
      o.from.empty() ? "to" : "from",
      fmt::format("no pair has its first head in layer {} and its second in layer {}: from names the head of the lower "
                  "layer, to that of the higher one",
                  first, last));
}

// Heads and layers that `heads`, `layer` and `head` name, once the model is known.
void choose(const Config& c, WeightsOptions& o) {
  const auto check = [&](const std::vector<HeadId>& list, const char* field) {
    for (const HeadId& id : list)
      if (id.layer >= c.n_layers || id.head >= c.n_heads)
        throw FieldError(field, fmt::format("{} {}.{}: the model has {} layers of {} heads, counted from 0", field, id.layer,
                                            id.head, c.n_layers, c.n_heads));
  };
  check(o.heads, "heads");
  check(o.from, "from");
  check(o.to, "to");
  check_ends(c, o);
  for (const int l : o.layers)
    if (l >= c.n_layers)
      throw FieldError("layer", fmt::format("layer {}: the model has {} layers, counted from 0", l, c.n_layers));
  if (o.head && *o.head >= c.n_heads)
    throw FieldError("head", fmt::format("head {}: the model has {} heads in a layer, counted from 0", *o.head, c.n_heads));
  if (!o.heads.empty() || (o.layers.empty() && !o.head)) return;
  for (int l = 0; l < c.n_layers; ++l)
    for (int h = 0; h < c.n_heads; ++h)
      if ((o.layers.empty() || std::find(o.layers.begin(), o.layers.end(), l) != o.layers.end()) && (!o.head || *o.head == h))
        o.heads.push_back({l, h});
}

}  // namespace

std::span<const char* const> weights_verbs() {
  static const std::vector<const char*> names = [] {
    std::vector<const char*> out;
    for (const Verb& v : verbs()) out.push_back(v.name);
    return out;
  }();
  return names;
}

WeightsOptions weights_options(const Json& request) {
  Fields f(request);
  WeightsOptions o;
  const auto verb = f.text("verb");
  if (!verb) throw FieldError("verb", fmt::format("weights needs a verb: one of {}", verb_names()));
  const Verb& v = find_verb(*verb);
  o.verb = *verb;
  o.heads = head_list(f, "heads");
  o.from = head_list(f, "from");
  o.to = head_list(f, "to");
  if (const auto l = f.integer("layer", 0, 100000)) o.layers = {static_cast<int>(*l)};
  o.head = f.integer("head", 0, 100000);
  if (!o.heads.empty() && (!o.layers.empty() || o.head))
    throw FieldError("heads", "heads and layer or head are both given; heads alone names single ones");
  o.offset = f.integer("offset", 0, 1 << 24).value_or(0);
  try {
    o.embedding = algebra::parse_embedding(f.text("embedding").value_or("w_e"));
  } catch (const Error& e) {
    throw FieldError("embedding", e.what());
  }
  o.top = f.integer("top", 0, 10000000);
  o.tokens = f.integer("tokens", 0, 1000).value_or(10);
  o.own_top = f.integer("own-top", 0, 1000000).value_or(0);
  if (o.verb == "svd") o.circuit = choice(f, "circuit", {"ov", "qk", "in", "gate", "out"}, "ov");
  else o.circuit = choice(f, "circuit", {"ov", "qk"}, "ov");
  o.kinds = kind_list(f);
  o.sources = f.texts("source");
  o.per_source = f.integer("per-source", 0, 1000).value_or(o.verb == "bigrams" ? 0 : 4);
  o.directions = f.integer("directions", 1, 100000).value_or(3);
  o.draws = f.integer("draws", 0, 100000).value_or(100);
  o.show = choice(f, "show", {"deletion", "copying", "links"}, "deletion");
  o.seed = static_cast<uint64_t>(f.integer("seed", 0, INT64_MAX).value_or(0));
  f.finish();
  for (const auto& [name, value] : request.items())
    if (name != "verb" && name != "top" && name != "seed" && !value.is_null() && !v.fields.contains(name))
      throw FieldError(name, fmt::format("weights {} does not use {}", o.verb, name));
  return o;
}

int64_t rows_wanted(const WeightsOptions& o, int64_t n, int64_t otherwise) {
  const int64_t top = o.top.value_or(otherwise);
  return top == 0 ? n : std::min(n, top);
}

Json head_json(const HeadId& id) { return {{"layer", id.layer}, {"head", id.head}}; }

Json weights(const Context& context, const WeightsOptions& given) {
  const Verb& verb = find_verb(given.verb);
  WeightsOptions options = given;
  choose(context.model->config(), options);
  Json result{{"model", context.name}, {"verb", options.verb}, {"view", "folded"}};
  if (verb.fields.contains("embedding")) result["embedding"] = algebra::embedding_name(options.embedding);
  if (verb.fields.contains("offset")) result["offset"] = options.offset;
  result.update(verb.rows(context, options));
  if (context.progress) context.progress->end();
  return result;
}

}  // namespace microtome::api
