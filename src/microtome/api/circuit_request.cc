#include <algorithm>
#include <nlohmann/json.hpp>

#include "microtome/api/circuit.h"

namespace microtome::api {
namespace {

constexpr const char* kVerbs = "find, run, eval or export";

// Who uses a field that not all do.
struct Use {
  std::string_view field;
  std::vector<std::string_view> verbs;
  std::vector<std::string_view> methods, selections;  // empty: all
};

const std::vector<Use>& uses() {
  static const std::vector<Use> list{{"circuit", {"run", "eval", "export"}, {}, {}},
                                     {"format", {"export"}, {}, {}},
                                     {"ablate", {"find", "run", "eval"}, {}, {}},
                                     {"metric", {"find", "run", "eval"}, {}, {}},
                                     {"random", {"find", "eval"}, {}, {}},
                                     {"signed", {"find", "eval"}, {}, {}},
                                     {"measure", {"find"}, {}, {}},
                                     {"positions", {"find"}, {}, {}},
                                     {"method", {"find"}, {}, {}},
                                     {"steps", {"find"}, {"eap-ig", "eap-ig-activations"}, {}},
                                     {"rule", {"find"}, {"eap-ig", "eap-ig-activations"}, {}},
                                     {"refine", {"find"}, {}, {}},
                                     {"select", {"find"}, {}, {}},
                                     {"edges", {"find"}, {}, {}},
                                     {"nodes", {"find"}, {}, {}},
                                     {"tau", {"find"}, {}, {}},
                                     {"time-limit", {"find"}, {}, {"ilp"}}};
  return list;
}

void refuse_unused(const Json& request, const CircuitOptions& o) {
  const auto lacks = [](const std::vector<std::string_view>& list, const std::string& name) {
    return !list.empty() && std::find(list.begin(), list.end(), name) == list.end();
  };
  for (const Use& use : uses()) {
    const std::string field(use.field);
    if (const auto it = request.find(field); it == request.end() || it->is_null()) continue;
    if (lacks(use.verbs, o.verb))
      throw FieldError(field, fmt::format("circuit {} does not use {}; it is for {}", o.verb, field, fmt::join(use.verbs, ", ")));
    if (lacks(use.methods, o.method))
      throw FieldError(field, fmt::format("circuit find with method {} does not use {}; it is for {}", printable(o.method), field,
                                          fmt::join(use.methods, ", ")));
    if (lacks(use.selections, o.select))
      throw FieldError(field, fmt::format("circuit find with select {} does not use {}; it is for select {}", printable(o.select),
                                          field, fmt::join(use.selections, ", ")));
  }
}

}  // namespace

CircuitOptions circuit_options(const Json& request) {
  Fields f(request);
  CircuitOptions o;
  o.verb = f.text("verb").value_or("find");
  if (o.verb != "find" && o.verb != "run" && o.verb != "eval" && o.verb != "export")
    throw FieldError("verb", fmt::format("verb \"{}\": expected {}", printable(o.verb), kVerbs));
  o.examples = examples_options(f);
  o.seed = o.examples.seed;
  if (const Json* c = f.find("circuit")) o.circuit = std::make_shared<Json>(*c);
  o.method = f.text("method").value_or(o.method);
  o.rule = f.text("rule").value_or(o.rule);
  o.steps = f.integer("steps", 1, 1024).value_or(0);
  o.select = f.text("select").value_or(o.select);
  o.edges = f.integer("edges", 1, int64_t{1} << 40).value_or(0);
  o.nodes = f.integer("nodes", 1, int64_t{1} << 40).value_or(0);
  o.tau = f.number("tau");
  o.time_limit = f.number("time-limit").value_or(o.time_limit);
  if (!(o.time_limit > 0) || o.time_limit > 3600)
    throw FieldError("time-limit", fmt::format("time-limit is {} s, expected more than 0 and at most 3600", o.time_limit));
  o.format = f.text("format").value_or(o.format);
  o.by_sign = f.boolean("signed").value_or(false);
  o.positions = f.boolean("positions").value_or(false);
  o.ablate = f.text("ablate");
  o.metric = f.text("metric");
  o.refine = f.integer("refine", 1, 1'000'000).value_or(0);
  o.random = f.integer("random", 0, 100).value_or(o.random);
  o.measure = f.boolean("measure").value_or(true);
  o.memory_gb = f.number("memory").value_or(o.memory_gb);
  if (!(o.memory_gb > 0) || o.memory_gb > 1024)
    throw FieldError("memory", fmt::format("memory is {} GB, expected more than 0 and at most 1024", o.memory_gb));
  f.finish();
  refuse_unused(request, o);
  return o;
}

}  // namespace microtome::api
