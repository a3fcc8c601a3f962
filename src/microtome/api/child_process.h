// Another program, run without a shell, its standard error captured and nothing read or shown.
//
//   const ChildResult r = run_child({"python3", "-m", "pip", "--version"}, {}, [&] { progress.check(); });
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace microtome::api {

struct ChildResult {
  bool found = true;   // false: there is no such program
  int exit_code = 0;   // 128 + signal where one ended it
  std::string errors;  // the last 64 KiB of its standard error
};

// The first word is looked up in PATH. `environment` is added to this process's. `tick` is called several times a second; if it
// throws, the child (and what it started) is ended and the exception goes on. Throws Io if the child cannot be started.
ChildResult run_child(const std::vector<std::string>& words, const std::map<std::string, std::string>& environment,
                      const std::function<void()>& tick);

}  // namespace microtome::api
