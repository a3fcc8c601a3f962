#include <nlohmann/json.hpp>

#include "microtome/api/heads.h"
#include "microtome/base/split.h"

namespace microtome::api {
namespace {

Tensor pattern_list(const Json& json) {
  const auto refuse = [] {
    throw FieldError("patterns", "\"patterns\" is a list of heads, each a list of rows of as many numbers as there are tokens");
  };
  if (!json.is_array() || json.empty() || !json[0].is_array() || json[0].empty()) refuse();
  const int64_t h = std::ssize(json), t = std::ssize(json[0]);
  std::vector<float> values;
  for (const Json& head : json) {
    if (!head.is_array() || std::ssize(head) != t) refuse();
    for (const Json& row : head) {
      if (!row.is_array() || std::ssize(row) != t) refuse();
      for (const Json& x : row) {
        if (!x.is_number()) refuse();
        values.push_back(x.get<float>());
      }
    }
  }
  return Tensor::from(std::move(values), {h, t, t});
}

}  // namespace

HeadsOptions heads_options(const Json& request) {
  Fields f(request);
  HeadsOptions o;
  InputOptions input = f.input();
  o.bos = input.bos;
  if (input.prompt || !input.prompts.empty() || !input.tokens.empty()) o.input = std::move(input);
  for (const std::string& list : f.texts("detectors"))
    for (std::string& name : split(list)) o.detectors.push_back(std::move(name));
  o.edits = f.edits();
  o.measure = f.text("measure");
  o.block = f.integer("block", 1, 1 << 20);
  o.repeat = f.integer("repeat", 1, 1 << 20);
  o.exclude_bos = f.boolean("exclude-bos").value_or(false);
  o.exclude_current = f.boolean("exclude-current").value_or(false);
  o.entropy = f.boolean("entropy").value_or(false);
  if (const Json* p = f.find("patterns")) o.patterns = pattern_list(*p);
  o.verify = f.boolean("verify").value_or(false);
  o.top = f.integer("top", 1, 256).value_or(o.top);
  o.draws = f.integer("draws", 1, 10000).value_or(o.draws);
  o.tokens = f.integer("suppression-tokens", 1, 1 << 20).value_or(o.tokens);
  o.prompts = f.integer("n", 1, 1000).value_or(o.prompts);
  o.seed = static_cast<uint64_t>(f.integer("seed", 0, INT64_MAX).value_or(0));
  f.finish();
  return o;
}

}  // namespace microtome::api
