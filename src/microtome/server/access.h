// Who may talk to the server: the Host header is checked (a page elsewhere must not reach it through a name of its own that it
// points here: DNS rebinding), and the Origin header (a page elsewhere must not use it unless the user allowed it). Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/server/http_message.h"

namespace microtome::server {

struct AccessRules {
  std::string host = "127.0.0.1";          // what the server is bound to
  std::vector<std::string> allow_origins;  // "https://example.org", "*"
};

// Throws InvalidArgument for an entry that is neither "*" nor scheme://host[:port].
void check_origins(const std::vector<std::string>& origins);

// localhost, 127.0.0.1, [::1], the bound host, the hosts of allowed origins; every numeric address where the server is bound to
// all of them. Any port: it may be forwarded.
bool host_allowed(const AccessRules& rules, std::string_view host_header);

// The page's own origin, http://HOST, or one that is allowed.
bool origin_allowed(const AccessRules& rules, std::string_view origin, std::string_view host_header);

// Throws HttpError 403 if the request may not be served. Requests without Origin come from programs, or from pages of the
// same origin.
void check_access(const AccessRules& rules, const HttpRequest& request);

// Headers that let the page of an allowed origin read the answer; none for requests without Origin.
HeaderList cors_headers(const HttpRequest& request);

// The answer to OPTIONS.
HttpResponse preflight(const HttpRequest& request, std::string_view methods);

}  // namespace microtome::server
