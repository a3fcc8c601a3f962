#include "microtome/server/access.h"

#include <arpa/inet.h>

#include <algorithm>

#include "microtome/base/error.h"
#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

// "LocalHost:8571" -> "localhost", "[::1]:8571" -> "::1"; empty if it is neither.
std::string host_name(std::string_view authority) {
  std::string_view name = authority, rest;
  if (authority.starts_with('[')) {
    const size_t close = authority.find(']');
    if (close == std::string_view::npos) return {};
    name = authority.substr(1, close - 1);
    rest = authority.substr(close + 1);
  } else if (const size_t colon = authority.find(':'); colon != std::string_view::npos) {
    name = authority.substr(0, colon);
    rest = authority.substr(colon);
  }
  const bool port = rest.size() > 1 && rest.size() <= 6 && rest[0] == ':' &&
                    std::all_of(rest.begin() + 1, rest.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!rest.empty() && !port) return {};
  return lower(name);
}

std::string_view without_scheme(std::string_view origin) {
  const size_t at = origin.find("://");
  return at == std::string_view::npos ? std::string_view() : origin.substr(at + 3);
}

bool is_numeric(const std::string& host) {
  in6_addr address;
  return inet_pton(AF_INET, host.c_str(), &address) == 1 || inet_pton(AF_INET6, host.c_str(), &address) == 1;
}

}  // namespace

void check_origins(const std::vector<std::string>& origins) {
  for (const std::string& origin : origins) {
    const bool http = origin.starts_with("http://") || origin.starts_with("https://");
    if (origin != "*" &&
        (!http || host_name(without_scheme(origin)).empty() || origin.find('/', origin.find("://") + 3) != std::string::npos))
      throw Error(ErrorKind::kInvalidArgument,
                  "allow-origin \"{}\": expected https://HOST or http://HOST:PORT, with nothing after it, or *",
                  printable(origin));
  }
}

bool host_allowed(const AccessRules& rules, std::string_view host_header) {
  const std::string name = host_name(host_header);
  if (name.empty()) return false;
  if (name == "localhost" || name == "127.0.0.1" || name == "::1" || name == lower(rules.host)) return true;
  for (const std::string& origin : rules.allow_origins)
    if (origin != "*" && name == host_name(without_scheme(origin))) return true;
  return (rules.host == "0.0.0.0" || rules.host == "::") && is_numeric(name);
}

bool origin_allowed(const AccessRules& rules, std::string_view origin, std::string_view host_header) {
  const std::string given = lower(origin);
  if (given == "http://" + lower(host_header)) return true;
  return std::any_of(rules.allow_origins.begin(), rules.allow_origins.end(),
                     [&](const std::string& o) { return o == "*" || lower(o) == given; });
}

void check_access(const AccessRules& rules, const HttpRequest& request) {
  const std::string* host = request.header("host");
  if (host && !host_allowed(rules, *host))
    throw HttpError(403, "the Host header \"" + printable(*host) + "\" is not this server's; use the address it printed");
  const std::string* origin = request.header("origin");
  if (origin && !origin_allowed(rules, *origin, host ? *host : ""))
    throw HttpError(403, "requests from the origin \"" + printable(*origin) +
                             "\" are refused; start the server with --allow-origin to allow it");
}

HeaderList cors_headers(const HttpRequest& request) {
  const std::string* origin = request.header("origin");
  if (!origin) return {};
  return {{"Access-Control-Allow-Origin", *origin}, {"Vary", "Origin"}};
}

HttpResponse preflight(const HttpRequest& request, std::string_view methods) {
  HttpResponse response{.status = 204, .content_type = ""};
  response.headers.emplace_back("Allow", methods);
  if (!request.header("origin")) return response;
  response.headers.emplace_back("Access-Control-Allow-Methods", methods);
  if (const std::string* wanted = request.header("access-control-request-headers"))
    response.headers.emplace_back("Access-Control-Allow-Headers", *wanted);
  if (request.header("access-control-request-private-network"))
    response.headers.emplace_back("Access-Control-Allow-Private-Network", "true");
  response.headers.emplace_back("Access-Control-Max-Age", "600");
  return response;
}

}  // namespace microtome::server
