// Output: where a command's results go: standard output, or with --out a file that is written whole or not at all.
//
//   Output out(common.out);
//   out.json(result);          // one line
//   out.finish();              // errors (disk full, ...) show here at the latest
//
// Throws Io if the result cannot be written, and ReaderLeft if the other end of a pipe is closed. One thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "microtome/base/json.h"

namespace microtome::cli {

// Nobody reads the results any more: the program ends quietly.
struct ReaderLeft {};

class Output {
 public:
  // "-" is standard output.
  explicit Output(const std::optional<std::string>& file = {});
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void write(std::string_view text);
  void json(const Json& value);  // one line
  void flush();                  // what comes bit by bit shows at once; a file waits for finish()
  void finish();

  // Standard output is a terminal, and results go there.
  bool is_terminal() const { return terminal_; }

 private:
  std::optional<std::string> file_;
  std::string pending_;
  bool terminal_;
};

}  // namespace microtome::cli
