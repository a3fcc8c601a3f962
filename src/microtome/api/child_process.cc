#include "microtome/api/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "microtome/base/error.h"

namespace microtome::api {
namespace {

constexpr int kTickMs = 150;
constexpr size_t kKeptErrors = 1 << 16;

std::vector<std::string> environment_with(const std::map<std::string, std::string>& extra) {
  std::vector<std::string> out;
  for (char** e = environ; *e != nullptr; ++e) {
    const std::string entry = *e;
    if (!extra.contains(entry.substr(0, entry.find('=')))) out.push_back(entry);
  }
  for (const auto& [name, value] : extra) out.push_back(name + "=" + value);
  return out;
}

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> out;
  for (const std::string& w : words) out.push_back(const_cast<char*>(w.c_str()));
  out.push_back(nullptr);
  return out;
}

// posix_spawn's settings: a process group of its own, signals as a fresh program has them, only the pipe as standard error.
struct SpawnSettings {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;

  explicit SpawnSettings(int error_pipe) {
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&files, error_pipe, STDERR_FILENO);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int s : {SIGINT, SIGTERM, SIGPIPE}) sigaddset(&defaults, s);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
  }
};

int wait_for(pid_t child) {
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void end_group(pid_t child) {
  ::kill(-child, SIGTERM);
  for (int i = 0; i < 20; ++i) {
    if (::waitpid(child, nullptr, WNOHANG) == child) {
      ::kill(-child, SIGKILL);  // what it may have left behind
      return;
    }
    ::usleep(50'000);
  }
  ::kill(-child, SIGKILL);
  wait_for(child);
}

// Reads until the child has closed its end.
void collect(int pipe, std::string& errors, const std::function<void()>& tick) {
  for (;;) {
    pollfd wanted{pipe, POLLIN, 0};
    if (::poll(&wanted, 1, kTickMs) > 0) {
      char buffer[4096];
      const ssize_t n = ::read(pipe, buffer, sizeof buffer);
      if (n == 0) return;
      if (n > 0) errors.append(buffer, static_cast<size_t>(n));
      if (errors.size() > 2 * kKeptErrors) errors.erase(0, errors.size() - kKeptErrors);
    }
    tick();
  }
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& words, const std::map<std::string, std::string>& environment,
                      const std::function<void()>& tick) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) throw Error(ErrorKind::kIo, "{}: cannot be started: {}", words[0], std::strerror(errno));
  ChildResult result;
  pid_t child = 0;
  const std::vector<std::string> env = environment_with(environment);
  const SpawnSettings settings(pipe[1]);
  const int error = ::posix_spawnp(&child, words[0].c_str(), &settings.files, &settings.attributes, pointers(words).data(),
                                   pointers(env).data());
  ::close(pipe[1]);
  if (error != 0) {
    ::close(pipe[0]);
    if (error != ENOENT) throw Error(ErrorKind::kIo, "{}: cannot be started: {}", words[0], std::strerror(error));
    result.found = false;
    return result;
  }
  try {
    collect(pipe[0], result.errors, tick);
  } catch (...) {
    ::close(pipe[0]);
    end_group(child);
    throw;
  }
  ::close(pipe[0]);
  result.exit_code = wait_for(child);
  return result;
}

}  // namespace microtome::api
