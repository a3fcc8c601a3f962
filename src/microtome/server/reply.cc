#include "microtome/server/reply.h"

#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/server/errors.h"
#include "microtome/server/sse.h"

namespace microtome::server {
namespace {

using namespace std::chrono_literals;

// How soon a client that has left is noticed while nothing is written to it.
constexpr auto kLook = 50ms;
constexpr auto kHeartbeat = 5s;
// A stream that has nothing to say by now begins all the same: its status is then 200, whatever comes.
constexpr auto kFirstEvent = 10s;

std::shared_ptr<Ticket> submit(Engine& engine, Job::Work work, std::function<void(Job&, const ProgressReport&)> sink = {}) {
  auto ticket = engine.submit(std::move(work), std::move(sink));
  if (!ticket) throw HttpError(429, "too many requests wait for the model; try again", {}, {{"Retry-After", "1"}});
  return ticket;
}

Json progress_json(const ProgressReport& r) {
  return {{"progress",
           {{"task", r.task},
            {"done", r.done},
            {"total", r.total},
            {"seconds", r.seconds},
            {"seconds_left", r.seconds_left < 0 ? Json() : Json(r.seconds_left)}}}};
}

// Writes what the job says until it ends or the client leaves.
void pump(Ticket& ticket, std::string event, StreamWriter& writer) {
  auto last_write = std::chrono::steady_clock::now();
  for (;;) {
    if (!event.empty()) {
      if (!writer.write(event)) return;
      last_write = std::chrono::steady_clock::now();
      event.clear();
    }
    const Ticket::Outcome outcome = ticket.next(event, kLook);
    if (outcome == Ticket::kDone) break;
    if (outcome == Ticket::kEvent) continue;
    if (!writer.client_present()) return;
    if (std::chrono::steady_clock::now() - last_write > kHeartbeat) event = sse_comment("waiting");
  }
  try {
    ticket.rethrow();
  } catch (...) {
    writer.write(sse_line(describe(std::current_exception()).body));
  }
}

}  // namespace

HttpResponse json_response(const Json& value) { return {.body = dump_json(value)}; }

HttpResponse answer(Engine& engine, const HttpRequest& request, std::function<HttpResponse(Job&)> work) {
  auto result = std::make_shared<HttpResponse>();
  const auto ticket = submit(engine, [result, work = std::move(work)](Job& job) { *result = work(job); });
  std::string event;
  while (ticket->next(event, kLook) != Ticket::kDone)
    if (!request.client_present()) throw Error(ErrorKind::kCancelled, "the client has left");
  ticket->rethrow();
  return std::move(*result);
}

HttpResponse stream(Engine& engine, const HttpRequest& request, Job::Work work, bool with_progress) {
  std::function<void(Job&, const ProgressReport&)> sink;
  if (with_progress) sink = [](Job& job, const ProgressReport& report) { job.emit(sse_event(progress_json(report))); };
  const auto ticket = submit(engine, std::move(work), std::move(sink));
  const auto begin_by = std::chrono::steady_clock::now() + kFirstEvent;
  std::string first;
  for (auto outcome = Ticket::kTimeout; outcome == Ticket::kTimeout && std::chrono::steady_clock::now() < begin_by;) {
    outcome = ticket->next(first, kLook);
    if (outcome == Ticket::kDone) ticket->rethrow();
    if (outcome == Ticket::kTimeout && !request.client_present()) throw Error(ErrorKind::kCancelled, "the client has left");
  }
  HttpResponse response{.content_type = "text/event-stream; charset=utf-8"};
  response.headers = {{"Cache-Control", "no-store"}, {"X-Accel-Buffering", "no"}};
  response.stream = [ticket, first](StreamWriter& writer) { pump(*ticket, first, writer); };
  return response;
}

}  // namespace microtome::server
