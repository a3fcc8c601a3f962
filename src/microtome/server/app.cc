#include "microtome/server/app.h"

#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/server/command_routes.h"
#include "microtome/server/errors.h"
#include "microtome/server/openai.h"
#include "microtome/server/page.h"
#include "microtome/server/reply.h"

namespace microtome::server {
namespace {

constexpr std::string_view kApi = "/api/", kModel = "/v1/models/";

bool takes_post(std::string_view path) {
  return path == "/v1/completions" || path == "/v1/chat/completions" ||
         (path.starts_with(kApi) && is_command(path.substr(kApi.size())));
}

Json parse_body(const HttpRequest& request) {
  Json body;
  try {
    body = parse_json(request.body, "the request body");
  } catch (const Error& e) {
    throw HttpError(400, e.what());
  }
  if (!body.is_object()) throw HttpError(400, "the request body is not a JSON object");
  return body;
}

// 503 while the model loads, so that what waits for the server waits for the model.
HttpResponse health(const ModelSlot& slot) {
  const bool loading = slot.loading();
  HttpResponse response =
      json_response({{"status", loading ? "loading" : "ok"}, {"model", slot.name().empty() ? Json() : Json(slot.name())}});
  if (loading) response.status = 503;
  response.headers.emplace_back("Cache-Control", "no-store");
  return response;
}

}  // namespace

HttpResponse App::post(const HttpRequest& request) {
  const Json body = parse_body(request);
  if (request.path == "/v1/completions") return complete(engine_, slot_, request, body, Endpoint::kCompletions);
  if (request.path == "/v1/chat/completions") return complete(engine_, slot_, request, body, Endpoint::kChat);
  return run_command(std::string_view(request.path).substr(kApi.size()), engine_, slot_, request, body);
}

HttpResponse App::route(const HttpRequest& request) {
  const bool posts = takes_post(request.path);
  const std::string methods = posts ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
  if (request.method == "OPTIONS") return preflight(request, methods);
  const bool reads = request.method == "GET" || request.method == "HEAD";
  const bool elsewhere = request.path.starts_with(kApi) ||
                         (request.path.starts_with("/v1/") && request.path != "/v1/models" && !request.path.starts_with(kModel));
  if (!posts && elsewhere) throw HttpError(404, "there is no such endpoint");
  if (posts ? request.method != "POST" : !reads) throw HttpError(405, "this address takes " + methods, {}, {{"Allow", methods}});
  if (posts) return post(request);
  if (request.path == "/healthz") return health(slot_);
  if (request.path == "/v1/models") return list_models(slot_);
  if (request.path.starts_with(kModel)) return show_model(slot_, request.path.substr(kModel.size()));
  return page(request);
}

HttpResponse App::handle(const HttpRequest& request) noexcept {
  HttpResponse response;
  bool allowed = false;
  try {
    check_access(rules_, request);
    allowed = true;
    response = route(request);
  } catch (...) {
    response = error_response(std::current_exception());
  }
  for (auto& header : security_headers()) response.headers.push_back(std::move(header));
  if (allowed)
    for (auto& header : cors_headers(request)) response.headers.push_back(std::move(header));
  return response;
}

}  // namespace microtome::server
