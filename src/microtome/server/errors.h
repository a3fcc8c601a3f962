// Errors as clients see them: a status and {"error":{"type","message","param"}}.
//
// Known errors keep their message, which is one line and names what to do; unknown ones become a 500 without details.
#pragma once

#include <exception>
#include <stdexcept>

#include "microtome/server/http_message.h"

namespace microtome::server {

class HttpError : public std::runtime_error {
 public:
  HttpError(int status, const std::string& message, std::string param = {}, HeaderList headers = {})
      : std::runtime_error(message), status_(status), param_(std::move(param)), headers_(std::move(headers)) {}
  int status() const { return status_; }
  const std::string& param() const { return param_; }
  const HeaderList& headers() const { return headers_; }

 private:
  int status_;
  std::string param_;
  HeaderList headers_;
};

struct ErrorAnswer {
  int status = 500;
  std::string body;  // {"error": ...} as JSON, on one line
  HeaderList headers;
};

// What an exception becomes. Wrong values, unknown sites and what the model cannot do are 422; a cancelled job is 503.
ErrorAnswer describe(const std::exception_ptr& error);

HttpResponse error_response(const std::exception_ptr& error);
HttpResponse error_response(const HttpError& error);

}  // namespace microtome::server
