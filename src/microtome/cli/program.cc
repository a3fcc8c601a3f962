#include "microtome/cli/program.h"

#include <fcntl.h>

#include <cstdio>
#include <filesystem>
#include <new>
#include <string>
#include <vector>

#include "microtome/api/suggest.h"
#include "microtome/base/error.h"
#include "microtome/cli/command.h"
#include "microtome/cli/interrupt.h"
#include "microtome/cli/output.h"

namespace microtome::cli {
namespace {

constexpr size_t kLongestMessage = 1000;

int fail(int exit_code, std::string_view message) {
  std::fprintf(stderr, "microtome: error: %s\n", printable(message, kLongestMessage).c_str());
  return exit_code;
}

// A program started without its standard files must not open a model as one of them.
void open_standard_files() {
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0) (void)::open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY);
}

void print_help() {
  std::string text =
      "microtome: look inside a transformer\n\n"
      "Usage: microtome COMMAND [MODEL] [OPTIONS]\n\nCommands\n";
  for (const CommandEntry& c : commands()) text += fmt::format("  {:<11} {}\n", c.name, c.summary);
  text +=
      "\nOptions\n"
      "  --help      this text; after a command, its options and examples\n"
      "  --version   the version\n"
      "\nEnvironment\n"
      "  MICROTOME_HOME     where models are kept (default: the XDG data folder)\n"
      "  MICROTOME_THREADS  threads used\n"
      "  NO_COLOR           no colours\n"
      "\nExamples\n"
      "  microtome pull smollm2-135m\n"
      "  microtome lens smollm2-135m --prompt 'The capital of Portugal is the city of'\n"
      "  microtome serve smollm2-135m\n";
  Output out;
  out.write(text);
  out.finish();
}

const CommandEntry& find_command(const std::string& name) {
  std::vector<std::string> names;
  for (const CommandEntry& c : commands()) {
    if (name == c.name) return c;
    names.push_back(c.name);
  }
  const std::string near = api::nearest_name(name, names);
  throw Error(ErrorKind::kInvalidArgument, "unknown {} \"{}\"{}; `microtome --help` lists the commands",
              name.starts_with("-") ? "option" : "command", printable(name),
              near.empty() ? "" : fmt::format(", did you mean {}?", near));
}

void run_command(std::vector<std::string> arguments) {
  if (arguments.empty()) throw Error(ErrorKind::kInvalidArgument, "no command; `microtome --help` lists them");
  const std::string name = arguments[0];
  const bool asks_help = name == "--help" || name == "-h" || name == "help";
  if (asks_help && arguments.size() == 1) return print_help();
  if (name == "--version") {
    Output out;
    out.write("microtome " MICROTOME_VERSION "\n");
    return out.finish();
  }
  const CommandEntry& entry = find_command(asks_help ? arguments[1] : name);
  arguments.erase(arguments.begin());
  if (asks_help) arguments = {"--help"};
  const std::unique_ptr<Command> command = entry.make();
  OptionSet options(entry.name, entry.summary);
  command->declare(options);
  if (options.parse(arguments)) return command->run();
  Output out;
  out.write(options.help());
  out.finish();
}

}  // namespace

int run_program(int argc, char** argv) {
  open_standard_files();
  install_interrupt_handlers();
  try {
    run_command(std::vector<std::string>(argv + (argc > 0), argv + argc));
    return 0;
  } catch (const ReaderLeft&) {
    return 0;
  } catch (const Error& e) {
    return fail(e.exit_code(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(1, "not enough memory; a shorter prompt, fewer sites or --compute native take less");
  } catch (const std::filesystem::filesystem_error& e) {
    return fail(1, fmt::format("{}: {}", printable(e.path1().string(), 200), e.code().message()));
  } catch (const std::exception& e) {
    return fail(1, e.what());
  }
}

}  // namespace microtome::cli
