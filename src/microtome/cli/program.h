// The program: finds the command, runs it, and turns whatever goes wrong into one line on standard error and an exit code:
// 0 done (also if the reader of standard output left); 1 it failed while running; 2 wrong use or bad input; 130 interrupted.
#pragma once

namespace microtome::cli {

int run_program(int argc, char** argv);

}  // namespace microtome::cli
