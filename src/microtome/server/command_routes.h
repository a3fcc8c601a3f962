// /api/COMMAND: every command with a JSON body of its long option names.
//
// With "stream": true the answer is a stream of events: tokens (run) or progress, then the command's object with "done": true.
// Several prompts give {"results": [...]} where one gives the object itself. `trace` answers with an npz.
#pragma once

#include <string_view>

#include "microtome/base/json.h"
#include "microtome/server/engine.h"
#include "microtome/server/http_message.h"
#include "microtome/server/model_slot.h"

namespace microtome::server {

bool is_command(std::string_view name);

// Throws HttpError, FieldError, Error.
HttpResponse run_command(std::string_view name, Engine& engine, const ModelSlot& slot, const HttpRequest& request, Json body);

}  // namespace microtome::server
