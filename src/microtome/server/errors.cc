#include "microtome/server/errors.h"

#include <new>
#include <nlohmann/json.hpp>

#include "microtome/api/request.h"

namespace microtome::server {
namespace {

const char* type_of(int status) {
  switch (status) {
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 408: return "timeout_error";
    case 429: return "rate_limit_error";
    case 503: return "unavailable_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

ErrorAnswer answer(int status, const std::string& message, const std::string& param = {}, HeaderList headers = {}) {
  Json error{{"type", type_of(status)}, {"message", message}, {"param", param.empty() ? Json() : Json(param)}, {"code", Json()}};
  return {status, dump_json({{"error", std::move(error)}}), std::move(headers)};
}

int status_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kNotFound:  // a site, a token: the request's values are wrong, its address is right
    case ErrorKind::kUnsupported: return 422;
    case ErrorKind::kCancelled: return 503;
    default: return 500;
  }
}

}  // namespace

ErrorAnswer describe(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const HttpError& e) {
    return answer(e.status(), e.what(), e.param(), e.headers());
  } catch (const api::FieldError& e) {
    return answer(422, e.what(), e.param());
  } catch (const Error& e) {
    const int status = status_of(e.kind());
    if (e.kind() == ErrorKind::kCancelled) return answer(status, "the work was stopped before it was done");
    return answer(status, status == 500 ? "the server failed" : e.what());
  } catch (const std::bad_alloc&) {
    return answer(500, "out of memory; ask for less at once");
  } catch (const nlohmann::json::exception&) {
    return answer(422, "a field has the wrong type");
  } catch (...) {
    return answer(500, "the server failed");
  }
}

HttpResponse error_response(const std::exception_ptr& error) {
  ErrorAnswer a = describe(error);
  return {.status = a.status, .headers = std::move(a.headers), .body = std::move(a.body)};
}

HttpResponse error_response(const HttpError& error) { return error_response(std::make_exception_ptr(error)); }

}  // namespace microtome::server
