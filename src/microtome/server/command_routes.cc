#include "microtome/server/command_routes.h"

#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "microtome/api/circuit.h"
#include "microtome/api/heads.h"
#include "microtome/api/neurons.h"
#include "microtome/api/patch.h"
#include "microtome/api/paths.h"
#include "microtome/api/tasks.h"
#include "microtome/api/weights.h"
#include "microtome/server/answer_size.h"
#include "microtome/server/errors.h"
#include "microtome/server/reply.h"
#include "microtome/server/sse.h"

namespace microtome::server {
namespace {

// What the work of a command is made of: its model and the job it runs in.
struct Call {
  Engine& engine;
  const ModelSlot& slot;
  const HttpRequest& request;
  Json body;
  bool stream = false;

  api::Context context() const { return {.model = slot.get(), .name = slot.name()}; }
};

Json one_or_several(std::vector<Json> results) {
  if (results.size() == 1) return std::move(results[0]);
  return {{"results", std::move(results)}};
}

Json last_event(Json result) {
  result["done"] = true;
  return result;
}

// A command that computes one JSON value: as the answer, or as the last event after those of its progress.
HttpResponse compute(Call& call, std::function<Json(const api::Context&)> work) {
  auto run = [context = call.context(), work = std::move(work)](Job& job) mutable {
    context.progress = &job.progress();
    return work(context);
  };
  if (call.stream)
    return stream(
        call.engine, call.request, [run](Job& job) mutable { job.emit(sse_event(last_event(run(job)))); }, true);
  return answer(call.engine, call.request, [run](Job& job) mutable { return json_response(run(job)); });
}

HttpResponse tokenize(Call& call) { return json_response(api::tokenize(call.context(), api::tokenize_options(call.body))); }

HttpResponse inspect(Call& call) {
  api::Fields(call.body).finish();
  return json_response(api::inspect(call.context()));
}

HttpResponse models(Call& call) {
  api::Fields(call.body).finish();
  return json_response(api::models());
}

HttpResponse lens(Call& call) {
  const api::LensCommandOptions options = api::lens_options(call.body);
  check_lens_size(call.context(), options);
  return compute(call, [options](const api::Context& c) { return one_or_several(api::lens(c, options)); });
}

HttpResponse patterns(Call& call) {
  return compute(call, [o = api::patterns_options(call.body)](const api::Context& c) { return api::patterns(c, o); });
}

HttpResponse perplexity(Call& call) {
  return compute(call, [o = api::perplexity_options(call.body)](const api::Context& c) { return api::perplexity(c, o); });
}

HttpResponse run(Call& call) {
  const api::RunOptions options = api::run_options(call.body);
  if (!call.stream) return compute(call, [options](const api::Context& c) { return one_or_several(api::run(c, options)); });
  return stream(
      call.engine, call.request,
      [context = call.context(), options](Job& job) mutable {
        context.progress = &job.progress();
        const auto results = api::run(context, options, [&](const Json& token) {
          job.emit(sse_event(token));
          return true;
        });
        job.emit(sse_event(last_event(one_or_several(results))));
      },
      false);
}

HttpResponse trace(Call& call) {
  if (call.stream) throw HttpError(422, "\"stream\" is not offered here: the answer is one npz", "stream");
  const api::TraceOptions options = api::trace_options(call.body);
  check_trace_size(call.context(), options);
  return answer(call.engine, call.request, [context = call.context(), options](Job& job) mutable {
    context.progress = &job.progress();
    std::ostringstream npz;
    api::write_arrays(npz, api::trace(context, options));
    HttpResponse response{.content_type = "application/octet-stream"};
    response.headers = {{"Content-Disposition", "attachment; filename=\"trace.npz\""}};
    response.body = std::move(npz).str();
    return response;
  });
}

HttpResponse patch(Call& call) {
  return compute(call, [o = api::patch_options(call.body)](const api::Context& c) { return api::patch(c, o); });
}

HttpResponse paths(Call& call) {
  return compute(call, [o = api::paths_options(call.body)](const api::Context& c) { return one_or_several(api::paths(c, o)); });
}

HttpResponse tasks(Call& call) {
  return compute(call, [o = api::tasks_options(call.body)](const api::Context& c) { return api::tasks(c, o); });
}

HttpResponse heads(Call& call) {
  return compute(call, [o = api::heads_options(call.body)](const api::Context& c) { return api::heads(c, o); });
}

HttpResponse weights(Call& call) {
  return compute(call, [o = api::weights_options(call.body)](const api::Context& c) { return api::weights(c, o); });
}

HttpResponse circuit(Call& call) {
  return compute(call, [o = api::circuit_options(call.body)](const api::Context& c) { return api::circuit(c, o); });
}

HttpResponse neurons(Call& call) {
  return compute(call, [o = api::neurons_options(call.body)](const api::Context& c) { return api::neurons(c, o); });
}

using Command = HttpResponse (*)(Call&);
const std::map<std::string_view, Command>& commands() {
  static const std::map<std::string_view, Command> table{
      {"tokenize", tokenize},     {"inspect", inspect}, {"models", models}, {"lens", lens},      {"patterns", patterns},
      {"perplexity", perplexity}, {"run", run},         {"trace", trace},   {"heads", heads},    {"weights", weights},
      {"tasks", tasks},           {"paths", paths},     {"patch", patch},   {"neurons", neurons}, {"circuit", circuit}};
  return table;
}

// On the command line a list is one word, "blocks.0.*,blocks.1.*".
void split_list(Json& body, const char* name) {
  const auto it = body.find(name);
  if (it == body.end() || !it->is_string()) return;
  std::istringstream words(it->get<std::string>());
  Json list = Json::array();
  for (std::string word; std::getline(words, word, ',');) list.push_back(word);
  *it = std::move(list);
}

// Options that name files, on the command line; unknown fields are refused anyway, these with a reason.
void refuse_files(const Json& body) {
  for (const char* name : {"out", "svg", "html", "file", "prompts-file", "tokens-npy"})
    if (body.contains(name) && !body[name].is_null())
      throw HttpError(
          422, fmt::format("\"{}\" names a file, which a request must not; send the text or the token ids themselves", name),
          name);
}

}  // namespace

bool is_command(std::string_view name) { return commands().contains(name); }

HttpResponse run_command(std::string_view name, Engine& engine, const ModelSlot& slot, const HttpRequest& request, Json body) {
  if (!body.is_object()) throw HttpError(400, "the request body is not a JSON object");
  if (const auto model = body.find("model"); model != body.end()) {
    slot.check_name(&*model);
    body.erase(model);
  }
  refuse_files(body);
  const bool streams = api::Fields(body).boolean("stream").value_or(false);
  body.erase("stream");
  if (name == "trace") split_list(body, "sites");
  Call call{engine, slot, request, std::move(body), streams};
  return commands().at(name)(call);
}

}  // namespace microtome::server
