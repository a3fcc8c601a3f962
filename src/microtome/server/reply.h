// From a request to an answer through the engine's queue.
//
//   return answer(engine, request, [=](Job& job) { return json_response(lens(context(job), options)); });
//   return stream(engine, request, [=](Job& job) { job.emit(sse_event(..)); .. });
//
// Called on a connection's thread, which waits. If the client leaves, the job is cancelled at once. Closures must own what they
// use. Both throw HttpError 429 if too many jobs wait, and what the job threw.
#pragma once

#include "microtome/base/json.h"
#include "microtome/server/engine.h"
#include "microtome/server/http_message.h"

namespace microtome::server {

HttpResponse json_response(const Json& value);

HttpResponse answer(Engine& engine, const HttpRequest& request, std::function<HttpResponse(Job&)> work);

// An answer of server-sent events. What the job throws before its first event is thrown here and becomes a status; later errors
// become the last event, {"error": ...}. `with_progress`: reports of long work are events, {"progress": {task, done, total,
// ...}}.
HttpResponse stream(Engine& engine, const HttpRequest& request, Job::Work work, bool with_progress);

}  // namespace microtome::server
