#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string_view>

#include "microtome/cli/program.h"

namespace {

// The OpenMP runtime reads how long an idle thread spins before it sleeps when the program is loaded, before main. Its default,
// some milliseconds, makes the threads of a busy machine wait for each other's time slices (1 token/s instead of 90 was
// measured); sleeping at once costs little where the machine is idle. So a command that computes starts itself once more with
// that set.
void start_with_patient_threads(int argc, char** argv) {
  static constexpr std::array<std::string_view, 14> kComputing{"bench", "circuit", "heads",      "lens",   "neurons",
                                                               "patch", "paths",   "perplexity", "run",    "serve",
                                                               "tasks", "trace",   "train",      "weights"};
  if (argc < 2 || std::find(kComputing.begin(), kComputing.end(), argv[1]) == kComputing.end()) return;
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  ::setenv("GOMP_SPINCOUNT", "0", 0);
  ::execv("/proc/self/exe", argv);  // where that is not possible, it runs as it is
}

}  // namespace

int main(int argc, char** argv) {
  start_with_patient_threads(argc, argv);
  return microtome::cli::run_program(argc, argv);
}
