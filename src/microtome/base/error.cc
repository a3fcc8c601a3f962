#include "microtome/base/error.h"

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
  size_t i = 0;
  while (i < text.size()) {
    if (out.size() >= limit) {
      out += "…";
      break;
    }
    const size_t n = utf8_length(text.substr(i));
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (n == 0) {
      out += fmt::format("\\x{:02x}", c);
      ++i;
    } else if (n == 1 && (c < 0x20 || c == 0x7f)) {
      out += c == '\n' ? "\\n" : fmt::format("\\x{:02x}", c);
      ++i;
    } else {
      out += text.substr(i, n);
      i += n;
    }
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
