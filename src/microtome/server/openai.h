// The endpoints /v1/models, /v1/completions and /v1/chat/completions.
#pragma once

#include "microtome/base/json.h"
#include "microtome/server/engine.h"
#include "microtome/server/http_message.h"
#include "microtome/server/model_slot.h"
#include "microtome/server/openai_request.h"

namespace microtome::server {

HttpResponse list_models(const ModelSlot& slot);
// GET /v1/models/NAME. Throws HttpError 404.
HttpResponse show_model(const ModelSlot& slot, const std::string& name);

// Throws HttpError, FieldError.
HttpResponse complete(Engine& engine, const ModelSlot& slot, const HttpRequest& request, const Json& body, Endpoint endpoint);

}  // namespace microtome::server
