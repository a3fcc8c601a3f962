#include <nlohmann/json.hpp>

#include "microtome/api/commands.h"

namespace microtome::api {

TokenizeOptions tokenize_options(const Json& request) {
  Fields f(request);
  TokenizeOptions o;
  const auto text = f.text("prompt");
  if (!text) throw FieldError("prompt", "\"prompt\" is missing");
  o.text = *text;
  o.bos = f.boolean("bos");
  o.chat = f.boolean("chat").value_or(false);
  f.finish();
  return o;
}

Json tokenize(const Context& context, const TokenizeOptions& options) {
  Json result{{"model", context.name}, {"ids", Json::array()}, {"tokens", Json::array()}};
  for (const int32_t id : encode_text(context, options.text, options.bos, options.chat)) {
    result["ids"].push_back(id);
    result["tokens"].push_back(token_text(*context.model, id));
  }
  return result;
}

}  // namespace microtome::api
