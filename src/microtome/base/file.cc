#include "microtome/base/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

#include "microtome/base/error.h"

namespace microtome {
namespace fs = std::filesystem;

namespace {

std::string shown(const fs::path& path) { return printable(path.string(), 200); }

void sync_to_disk(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  const int result = ::fsync(fd);
  const int error = errno;
  ::close(fd);
  if (result != 0 && error != EINVAL) throw Error(ErrorKind::kIo, "{}: cannot be written: {}", shown(path), std::strerror(error));
}

}  // namespace

void write_atomically(const fs::path& path, const std::function<void(std::ostream&)>& write) {
  // A device (/dev/stdout, /dev/full) has nothing to rename over.
  std::error_code ec;
  const bool special = fs::exists(path, ec) && !fs::is_regular_file(path, ec);
  if (special && fs::is_directory(path, ec)) throw Error(ErrorKind::kIo, "{}: is a folder; name a file", shown(path));
  fs::path temporary = path;
  if (!special) temporary += fmt::format(".part{}", ::getpid());
  try {
    errno = 0;
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    if (!out) throw Error(ErrorKind::kIo, "{}: cannot be created: {}", shown(path), std::strerror(errno));
    write(out);
    errno = 0;
    out.flush();
    if (!out) throw Error(ErrorKind::kIo, "{}: cannot be written: {}", shown(path), errno ? std::strerror(errno) : "disk full?");
    out.close();
    if (special) return;
    sync_to_disk(temporary);
    fs::rename(temporary, path, ec);
    if (ec) throw Error(ErrorKind::kIo, "{}: cannot be written: {}", shown(path), ec.message());
  } catch (...) {
    if (!special) fs::remove(temporary, ec);
    throw;
  }
}

std::string read_file(const fs::path& path, uint64_t limit) {
  std::ifstream file;
  const bool standard_input = path == "-";
  if (!standard_input) {
    std::error_code ec;
    if (!fs::exists(path, ec)) throw Error(ErrorKind::kNotFound, "{}: no such file", shown(path));
    if (fs::is_directory(path, ec)) throw Error(ErrorKind::kInvalidArgument, "{}: is a folder; name a file", shown(path));
    errno = 0;
    file.open(path, std::ios::binary);
    if (!file) {
      const ErrorKind kind = errno == EACCES ? ErrorKind::kInvalidArgument : ErrorKind::kIo;
      throw Error(kind, "{}: cannot be opened: {}", shown(path), std::strerror(errno));
    }
  }
  std::istream& in = standard_input ? std::cin : file;
  std::string text;
  char buffer[1 << 16];
  while (in.read(buffer, sizeof buffer) || in.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(in.gcount()));
    if (text.size() > limit) throw Error(ErrorKind::kInvalidArgument, "{}: longer than {} bytes", shown(path), limit);
  }
  if (in.bad()) throw Error(ErrorKind::kIo, "{}: cannot be read", shown(path));
  return text;
}

std::string read_regular_file(const fs::path& path, uint64_t limit) {
  std::error_code ec;
  if (fs::exists(path, ec) && !fs::is_regular_file(path, ec))
    throw Error(ErrorKind::kInvalidArgument, "{}: not a regular file", shown(path));
  return read_file(path, limit);
}

fs::path data_home() {
  if (const char* home = std::getenv("MICROTOME_HOME"); home && *home) return home;
  if (const char* xdg = std::getenv("XDG_DATA_HOME"); xdg && *xdg) return fs::path(xdg) / "microtome";
  const char* home = std::getenv("HOME");
  return fs::path(home && *home ? home : "/tmp") / ".local/share/microtome";
}

}  // namespace microtome
