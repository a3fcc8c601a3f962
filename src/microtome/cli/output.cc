#include "microtome/cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "microtome/base/error.h"
#include "microtome/base/file.h"

namespace microtome::cli {
namespace {

constexpr size_t kBuffer = 1 << 16;

void write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EPIPE) {
      throw ReaderLeft();
    } else if (errno != EINTR) {
      throw Error(ErrorKind::kIo, "standard output: cannot be written: {}", std::strerror(errno));
    }
  }
}

}  // namespace

Output::Output(const std::optional<std::string>& file)
    : file_(file && *file != "-" ? file : std::nullopt), terminal_(!file_ && ::isatty(STDOUT_FILENO)) {}

void Output::write(std::string_view text) {
  pending_ += text;
  if (pending_.size() >= kBuffer) flush();
}

void Output::json(const Json& value) {
  write(dump_json(value));
  write("\n");
}

void Output::flush() {
  if (file_) return;
  const std::string bytes = std::move(pending_);
  pending_.clear();
  write_all(STDOUT_FILENO, bytes);
}

void Output::finish() {
  if (!file_) return flush();
  write_atomically(*file_, [&](std::ostream& out) { out.write(pending_.data(), static_cast<std::streamsize>(pending_.size())); });
  pending_.clear();
}

}  // namespace microtome::cli
