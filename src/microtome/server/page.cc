#include "microtome/server/page.h"

#include <fmt/format.h>

#include <algorithm>

#include "microtome/embedded_files.h"
#include "microtome/server/errors.h"

namespace microtome::server {

HeaderList security_headers() {
  return {{"X-Content-Type-Options", "nosniff"},
          {"Referrer-Policy", "no-referrer"},
          // Styles in attributes are what positions things in pictures; scripts only ever come from files.
          {"Content-Security-Policy",
           "default-src 'self'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data: blob:; "
           "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"}};
}

HttpResponse page(const HttpRequest& request) {
  const std::string path = request.path == "/" ? "/index.html" : request.path;
  const auto files = embedded_files();
  if (files.empty() && request.path == "/")
    return {.content_type = "text/plain; charset=utf-8",
            .body = "microtome, built without its page; /healthz, /v1 and /api answer.\n"};
  const auto file = std::find_if(files.begin(), files.end(), [&](const EmbeddedFile& f) { return f.path == path; });
  if (file == files.end()) throw HttpError(404, "there is nothing at this address");
  HttpResponse response{.content_type = std::string(file->mime)};
  const bool hashed = path.starts_with("/assets/");
  const std::string tag = fmt::format("\"{:08x}-{:x}\"", file->crc32, file->size);
  response.headers = {{"Cache-Control", hashed ? "public, max-age=31536000, immutable" : "no-cache"}, {"ETag", tag}};
  if (const std::string* have = request.header("if-none-match"); have && have->find(tag) != std::string::npos) {
    response.status = 304;
    return response;
  }
  response.body.assign(reinterpret_cast<const char*>(file->gzip.data()), file->gzip.size());
  response.gzip = true;
  return response;
}

}  // namespace microtome::server
