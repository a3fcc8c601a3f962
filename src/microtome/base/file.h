// Files written whole or not at all, and the places microtome keeps things in.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

namespace microtome {

// Runs `write` on a stream into a temporary file beside `path`, flushes it to disk and renames it over `path`. If anything
// fails, the old file (if any) is untouched and the temporary one is removed. Throws kIo (disk full, no permission, ...).
void write_atomically(const std::filesystem::path& path, const std::function<void(std::ostream&)>& write);

// The whole of a file ("-": standard input). Throws kNotFound, kIo; kInvalidArgument if longer than `limit` bytes.
std::string read_file(const std::filesystem::path& path, uint64_t limit = uint64_t{1} << 30);

// A file of a model's folder: like read_file, but a pipe or device, which could keep its reader waiting for ever, is refused
// with kInvalidArgument.
std::string read_regular_file(const std::filesystem::path& path, uint64_t limit);

// MICROTOME_HOME, else $XDG_DATA_HOME/microtome, else ~/.local/share/microtome. Not created here.
std::filesystem::path data_home();

}  // namespace microtome
