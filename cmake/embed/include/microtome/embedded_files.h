// Files compiled into the program (the built page), gzip-compressed; see cmake/EmbedFiles.cmake.
//
//   for (const EmbeddedFile& file : embedded_files())
//     if (file.path == "/index.html") send(file.mime, "gzip", file.gzip);
//
// Everything lives as long as the program. Any number of threads may read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace microtome {

struct EmbeddedFile {
  std::string_view path;                // from the folder's root: "/index.html", "/assets/index-4f2a.js"
  std::string_view mime;                // "text/html; charset=utf-8"; "application/octet-stream" if the extension is unknown
  std::span<const unsigned char> gzip;  // one gzip member
  size_t size;                          // bytes before compression
  uint32_t crc32;                       // of those bytes: tells versions apart (an ETag)
};

// In order of path; empty if the program was built without the page.
std::span<const EmbeddedFile> embedded_files();

}  // namespace microtome
