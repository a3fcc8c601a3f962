#include "microtome/server/model_slot.h"

#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/server/errors.h"

namespace microtome::server {

void ModelSlot::set(std::shared_ptr<const Model> model) {
  const std::lock_guard lock(mutex_);
  model_ = std::move(model);
  loading_ = false;
}

bool ModelSlot::loading() const {
  const std::lock_guard lock(mutex_);
  return loading_;
}

std::shared_ptr<const Model> ModelSlot::get() const {
  const std::lock_guard lock(mutex_);
  if (model_) return model_;
  if (loading_) throw HttpError(503, "the model is still loading; try again", {}, {{"Retry-After", "1"}});
  throw HttpError(503, "no model is loaded; start the server with one, as in `microtome serve smollm2-135m`");
}

void ModelSlot::check_name(const Json* model) const {
  if (!model || model->is_null()) return;
  if (!model->is_string()) throw HttpError(422, "\"model\" is not a string", "model");
  const std::string wanted = model->get<std::string>();
  if (wanted == name_) return;
  const bool path =
      wanted.find('/') != std::string::npos || wanted.ends_with(".gguf") || wanted.starts_with('.') || wanted.starts_with('~');
  if (path)
    throw HttpError(422, "\"model\" is a path, which a request must not name; name a served model, as /v1/models lists them",
                    "model");
  throw HttpError(404, fmt::format("the model \"{}\" is not served here; this server has \"{}\"", printable(wanted), name_),
                  "model");
}

}  // namespace microtome::server
