#include "microtome/server/request_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

// RFC 9110, section 5.6.2.
bool is_token(std::string_view text) {
  const auto good = [](unsigned char c) {
    return std::isalnum(c) || std::string_view("!#$%&'*+-.^_`|~").find(static_cast<char>(c)) != std::string_view::npos;
  };
  return !text.empty() && std::all_of(text.begin(), text.end(), good);
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

void parse_line(std::string_view line, const Limits& limits, HttpRequest& request) {
  if (line.size() > limits.line_bytes)
    throw HttpError(414, fmt::format("the request line has more than {} bytes", limits.line_bytes));
  const size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last || !is_token(line.substr(0, first)))
    throw HttpError(400, "the request line is not METHOD PATH HTTP/1.1");
  const std::string_view target = line.substr(first + 1, last - first - 1), version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") throw HttpError(400, "the request is not HTTP/1.1 or HTTP/1.0");
  const bool printable = std::all_of(target.begin(), target.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (!printable || !target.starts_with('/')) throw HttpError(400, "the request's target is not a path");
  request.method = line.substr(0, first);
  request.path = target.substr(0, target.find('?'));
  request.minor = version.back() - '0';
}

void parse_header(std::string_view line, HttpRequest& request) {
  const size_t colon = line.find(':');
  // A name followed by a space, and a line that begins with one (folding), are how requests are smuggled.
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) throw HttpError(400, "a header is not NAME: VALUE");
  const std::string_view value = trimmed(line.substr(colon + 1));
  for (const unsigned char c : value)
    if ((c < ' ' && c != '\t') || c == 0x7f) throw HttpError(400, "a header holds a control character");
  request.headers.emplace_back(lower(line.substr(0, colon)), value);
}

// The one value of a header that must not be given twice.
const std::string* single(const HttpRequest& request, std::string_view name) {
  const std::string* found = nullptr;
  for (const auto& [key, value] : request.headers) {
    if (key != name) continue;
    if (found) throw HttpError(400, fmt::format("the header {} is given twice", name));
    found = &value;
  }
  return found;
}

uint64_t content_length(const HttpRequest& request, const Limits& limits) {
  if (request.header("transfer-encoding"))
    throw HttpError(411, "chunked request bodies are not taken; send the body with Content-Length");
  const std::string* text = single(request, "content-length");
  if (!text) {
    if (request.method == "POST") throw HttpError(411, "the request has no Content-Length; send one, 0 for no body");
    return 0;
  }
  const bool digits = !text->empty() && std::all_of(text->begin(), text->end(), [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) throw HttpError(400, "Content-Length is not a number");
  uint64_t n = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), n);
  if (error != std::errc() || n > limits.body_bytes)
    throw HttpError(413, fmt::format("the request body has more than {} bytes; send less at once", limits.body_bytes));
  return n;
}

}  // namespace

BodyLength parse_head(std::string_view head, const Limits& limits, HttpRequest& request) {
  const size_t line_end = head.find("\r\n");
  parse_line(head.substr(0, line_end), limits, request);
  for (size_t begin = line_end == std::string_view::npos ? head.size() : line_end + 2; begin < head.size();) {
    const size_t end = std::min(head.find("\r\n", begin), head.size());
    if (request.headers.size() == limits.headers)
      throw HttpError(431, fmt::format("the request has more than {} headers", limits.headers));
    parse_header(head.substr(begin, end - begin), request);
    begin = end + 2;
  }
  if (!single(request, "host") && request.minor >= 1) throw HttpError(400, "the request has no Host header");
  BodyLength body;
  body.bytes = content_length(request, limits);
  if (const std::string* encoding = request.header("content-encoding");
      encoding && lower(*encoding) != "identity" && body.bytes > 0)
    throw HttpError(415, "compressed request bodies are not taken; send it plain");
  if (const std::string* expect = request.header("expect")) {
    if (lower(*expect) != "100-continue") throw HttpError(417, "the header Expect asks for something unknown");
    body.expects_continue = request.minor >= 1 && body.bytes > 0;
  }
  const std::string* connection = request.header("connection");
  const std::string wish = connection ? lower(*connection) : "";
  body.keep_alive = request.minor >= 1 ? wish.find("close") == std::string::npos : wish == "keep-alive";
  return body;
}

}  // namespace microtome::server
