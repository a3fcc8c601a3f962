// Errors: one exception family with a kind, and checks for programmer errors.
//
//   throw Error(ErrorKind::kCorrupt, "gguf: tensor \"{}\" ends at byte {}, file has {}; the download may be cut short", ...);
//   MT_CHECK_EQ(x.size(0), y.size(0));
//
// A message says where, what was found, what was expected and what to do, in one line. Nothing throws across a thread:
// parallel_for carries the first exception to the caller.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace microtome {

enum class ErrorKind {
  kInvalidArgument,  // wrong use: an option, a shape, an unknown name
  kNotFound,         // a file or a name that does not exist
  kCorrupt,          // a file that is cut short, malformed or hostile
  kUnsupported,      // well-formed, but not something microtome can do
  kIo,               // disk, network, memory: it failed while running
  kCancelled,        // interrupted by the user, or the client has left
};

// "invalid argument", "not found", ...
const char* to_string(ErrorKind kind);

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  template <class... Args>
  requires(sizeof...(Args) > 0) Error(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args)
      : std::runtime_error(fmt::format(format, std::forward<Args>(args)...)), kind_(kind) {}

  ErrorKind kind() const { return kind_; }

  // Exit code of the command line: 2 for wrong use and bad input, 1 for what failed while running, 130 if interrupted.
  int exit_code() const;

 private:
  ErrorKind kind_;
};

// Bytes of untrusted text (names out of files, prompts) made fit for one line of a message: control characters and bytes
// that are not UTF-8 escaped, at most `limit` bytes.
std::string printable(std::string_view text, size_t limit = 80);

namespace internal {
[[noreturn]] void check_failed(const char* file, int line, const std::string& what);

template <class A, class B>
[[noreturn]] void check_op_failed(const char* file, int line, const char* text, const A& a, const B& b) {
  check_failed(file, line, fmt::format("{} ({} against {})", text, a, b));
}
}  // namespace internal

}  // namespace microtome

// Programmer errors: print both values and abort. Never used on what a user or a file can choose.
#define MT_CHECK(condition)                                                                \
  do {                                                                                     \
    if (!(condition)) ::microtome::internal::check_failed(__FILE__, __LINE__, #condition); \
  } while (0)
#define MT_CHECK_OP(op, a, b)                                                                                           \
  do {                                                                                                                  \
    const auto& mt_a_ = (a);                                                                                            \
    const auto& mt_b_ = (b);                                                                                            \
    if (!(mt_a_ op mt_b_)) ::microtome::internal::check_op_failed(__FILE__, __LINE__, #a " " #op " " #b, mt_a_, mt_b_); \
  } while (0)
#define MT_CHECK_EQ(a, b) MT_CHECK_OP(==, a, b)
#define MT_CHECK_LE(a, b) MT_CHECK_OP(<=, a, b)
#define MT_CHECK_LT(a, b) MT_CHECK_OP(<, a, b)
