#include "microtome/base/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "microtome/base/utf8.h"

namespace microtome {

const char* to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidArgument: return "invalid argument";
    case ErrorKind::kNotFound: return "not found";
    case ErrorKind::kCorrupt: return "corrupt";
    case ErrorKind::kUnsupported: return "unsupported";
    case ErrorKind::kIo: return "failed";
    case ErrorKind::kCancelled: return "cancelled";
  }
  return "error";
}

int Error::exit_code() const {
  switch (kind_) {
    case ErrorKind::kIo: return 1;
    case ErrorKind::kCancelled: return 130;
    default: return 2;
  }
}

std::string printable(std::string_view text, size_t limit) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t n = utf8_length(text.substr(i));
    const uint32_t code = n == 0 ? static_cast<uint8_t>(text[i]) : utf8_decode(text.substr(i), n);
    std::string piece(text.substr(i, n));
    if (n == 0 || code < 0x20 || code == 0x7f) {
      piece = code == '\n' ? "\\n" : fmt::format("\\x{:02x}", code);
    } else if (code >= 0x80 && code < 0xa0) {
      piece = fmt::format("\\u{:04x}", code);  // C1 controls: terminals obey them too
    }
    if (out.size() + piece.size() > limit) return out + "…";
    out += piece;
    i += std::max<size_t>(1, n);
  }
  return out;
}

namespace internal {
void check_failed(const char* file, int line, const std::string& what) {
  std::fprintf(stderr, "%s:%d: check failed: %s\n", file, line, what.c_str());
  std::abort();
}
}  // namespace internal

}  // namespace microtome
