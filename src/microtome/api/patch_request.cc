// Reading a patch request: from JSON, and the command line's list of ablations.
#include <cmath>
#include <nlohmann/json.hpp>

#include "microtome/api/patch.h"
#include "microtome/base/split.h"

namespace microtome::api {
namespace {

Tensor matrix_of(const Json& v) {
  const auto bad = [] { throw FieldError("ablate", "project: expected a list of numbers, or a list of rows of equally many"); };
  if (!v.is_array() || v.empty()) bad();
  const bool rows = v[0].is_array();
  const size_t width = rows ? v[0].size() : v.size();
  if (width == 0) bad();
  std::vector<float> values;
  const auto take = [&](const Json& row) {
    if (row.size() != width) bad();
    for (const Json& x : row) {
      if (!x.is_number()) bad();
      values.push_back(static_cast<float>(x.get<double>()));
    }
  };
  if (!rows) take(v);
  for (const Json& row : v)
    if (rows) {
      if (!row.is_array()) bad();
      take(row);
    }
  const auto n = static_cast<int64_t>(values.size() / width);
  return Tensor::from(std::move(values), {n, static_cast<int64_t>(width)});
}

std::optional<Replacement> plain_ablation(std::string_view name) {
  if (name == "zero") return Replacement{.kind = ReplacementKind::kZero, .name = "zero"};
  if (name == "mean") return Replacement{.kind = ReplacementKind::kMean, .name = "mean"};
  if (name == "resample") return Replacement{.kind = ReplacementKind::kOther, .name = "resample"};
  return std::nullopt;
}

// "project:X" or "project-out:X": the kind, and X.
std::optional<std::pair<Replacement, std::string>> projection(const std::string& text) {
  for (const auto& [word, kind] :
       {std::pair{"project:", ReplacementKind::kProject}, {"project-out:", ReplacementKind::kProjectOut}})
    if (text.starts_with(word) && text.size() > std::string_view(word).size())
      return std::pair{Replacement{.kind = kind, .name = text}, text.substr(std::string_view(word).size())};
  return std::nullopt;
}

[[noreturn]] void unknown_ablation(const std::string& text) {
  throw FieldError(
      "ablate", fmt::format("ablate \"{}\": expected zero, mean, resample, project:F.npy or project-out:F.npy", printable(text)));
}

std::vector<Replacement> ablations_from(const Json& v) {
  std::vector<Replacement> out;
  const auto file = [](const std::string& name) -> Tensor {
    throw FieldError("ablate", fmt::format("project:{} names a file, which a request must not; send {{\"project\": [[...]]}}",
                                           printable(name)));
  };
  if (v.is_string()) return parse_ablations(v.get<std::string>(), file);
  if (!v.is_array()) throw FieldError("ablate", "\"ablate\" is neither a text nor a list");
  for (const Json& a : v) {
    if (a.is_string()) {
      for (Replacement& r : parse_ablations(a.get<std::string>(), file)) out.push_back(std::move(r));
    } else if (a.is_object() && a.size() == 1 && (a.contains("project") || a.contains("project-out"))) {
      const bool remove = a.contains("project-out");
      out.push_back({.kind = remove ? ReplacementKind::kProjectOut : ReplacementKind::kProject,
                     .name = remove ? "project-out" : "project",
                     .basis = matrix_of(a.begin().value())});
    } else {
      unknown_ablation(a.dump());
    }
  }
  return out;
}

std::vector<int64_t> selection(Fields& f, const char* name) {
  const Json* v = f.find(name);
  if (!v) return {};
  if (v->is_number_integer()) return parse_selection(v->dump(), name);
  if (v->is_string()) return parse_selection(v->get<std::string>(), name);
  if (!v->is_array() || v->empty())
    throw FieldError(name, fmt::format("\"{}\" is neither a list of numbers nor a text as 3,7,10:20", name));
  std::string text;
  for (const Json& x : *v) text += (text.empty() ? "" : ",") + x.dump();
  return parse_selection(text, name);
}

// A text, or a list of texts that are joined by commas.
std::optional<std::string> nodes(Fields& f, const char* name) {
  const std::vector<std::string> list = f.texts(name);
  if (list.empty()) return std::nullopt;
  std::string out;
  for (const std::string& s : list) out += (out.empty() ? "" : ",") + s;
  return out;
}

double bounded(Fields& f, const char* name, double standard, double low, double high) {
  const double x = f.number(name).value_or(standard);
  if (!(x >= low && x <= high)) throw FieldError(name, fmt::format("\"{}\" is {}, expected {} to {}", name, x, low, high));
  return x;
}

}  // namespace

std::vector<Replacement> parse_ablations(const std::string& text, const std::function<Tensor(const std::string&)>& load_array) {
  std::vector<Replacement> out;
  for (const std::string& piece : split(text)) {
    if (auto plain = plain_ablation(piece)) {
      out.push_back(std::move(*plain));
    } else if (auto p = projection(piece)) {
      p->first.basis = load_array(p->second);
      out.push_back(std::move(p->first));
    } else {
      unknown_ablation(piece);
    }
  }
  return out;
}

PatchOptions patch_options(const Json& request) {
  Fields f(request);
  PatchOptions o;
  o.examples = examples_options(f);
  o.edits = f.edits();
  o.site = f.text("site");
  o.by = f.text("by");
  o.from = nodes(f, "from");
  o.to = nodes(f, "to");
  o.through_mlps = f.boolean("through-mlps").value_or(false);
  o.direction = f.text("direction");
  o.method = f.text("method").value_or("exact");
  o.with_exact = f.boolean("with-exact").value_or(false);
  if (const Json* a = f.find("ablate")) o.ablate = ablations_from(*a);
  o.metric = f.text("metric");
  o.selection = {selection(f, "layers"), selection(f, "heads"), selection(f, "positions"), selection(f, "sources"),
                 selection(f, "neurons")};
  o.top = f.integer("top", 2, 256);
  o.memory_gb = bounded(f, "memory", 1, 0.01, 1024);
  f.finish();
  return o;
}

}  // namespace microtome::api
