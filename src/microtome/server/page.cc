#include "microtome/server/page.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>

#include "microtome/embedded_files.h"
#include "microtome/server/errors.h"

namespace microtome::server {
namespace {

bool takes_gzip(const HttpRequest& request) {
  const std::string* accepted = request.header("accept-encoding");
  if (!accepted) return false;
  const size_t at = accepted->find("gzip");
  // "gzip;q=0" refuses it.
  return at != std::string::npos && accepted->compare(at + 4, 4, ";q=0") != 0;
}

std::string gunzip(const EmbeddedFile& file) {
  std::string out(file.size, '\0');
  z_stream z{};
  z.next_in = const_cast<Bytef*>(file.gzip.data());
  z.avail_in = static_cast<uInt>(file.gzip.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const bool good = inflateInit2(&z, 15 + 16) == Z_OK && inflate(&z, Z_FINISH) == Z_STREAM_END;
  inflateEnd(&z);
  if (!good) throw HttpError(500, "the server failed");
  return out;
}

}  // namespace

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
  response.headers = {
      {"Cache-Control", hashed ? "public, max-age=31536000, immutable" : "no-cache"}, {"ETag", tag}, {"Vary", "Accept-Encoding"}};
  if (const std::string* have = request.header("if-none-match"); have && have->find(tag) != std::string::npos) {
    response.status = 304;
    return response;
  }
  if (takes_gzip(request)) {
    response.headers.emplace_back("Content-Encoding", "gzip");
    response.body.assign(reinterpret_cast<const char*>(file->gzip.data()), file->gzip.size());
  } else {
    response.body = gunzip(*file);
  }
  return response;
}

}  // namespace microtome::server
