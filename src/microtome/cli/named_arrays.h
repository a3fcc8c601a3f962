// Arrays that a command writes to an npz file, and the table that says which they were.
#pragma once

#include <string>
#include <vector>

#include "microtome/api/commands.h"

namespace microtome::cli {

// "a,b" and "c" -> a, b, c.
std::vector<std::string> split_sites(const std::vector<std::string>& lists);

// Atomically; "-" is standard output.
void write_npz_output(const std::string& path, const std::vector<api::NamedArray>& arrays);

// On standard output (on standard error where that holds the npz): a table, or with `json` an object {model, path, arrays[]}.
void report_arrays(const std::string& path, const std::string& model, const std::vector<api::NamedArray>& arrays, bool json,
                   bool quiet);

}  // namespace microtome::cli
