#include "microtome/cli/program.h"

int main(int argc, char** argv) { return microtome::cli::run_program(argc, argv); }
