// Files written whole or not at all, read with a limit, mapped; JSON from people who mean no good.
#include "microtome/base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "microtome/base/error.h"
#include "microtome/base/json.h"
#include "microtome/base/mapped_file.h"

namespace microtome {
namespace {

namespace fs = std::filesystem;

class Files : public testing::Test {
 protected:
  Files() : folder(fs::temp_directory_path() / fmt::format("microtome-test-base-{}", ::getpid())) {
    fs::create_directories(folder);
  }
  ~Files() override {
    std::error_code ec;
    fs::remove_all(folder, ec);
  }
  void write(const char* name, std::string_view text) const { std::ofstream(folder / name, std::ios::binary) << text; }
  int64_t entries() const { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }
  const fs::path folder;
};

template <class Fn>
void expect_error(ErrorKind kind, Fn&& fn) {
  try {
    fn();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(to_string(e.kind()), std::string(to_string(kind))) << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
  }
}

TEST_F(Files, a_write_replaces_the_whole_file_and_leaves_nothing_beside_it) {
  write("a", "old and longer");
  write_atomically(folder / "a", [](std::ostream& out) { out << "new"; });
  EXPECT_EQ(read_file(folder / "a"), "new");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it) {
  write("a", "old");
  EXPECT_THROW(write_atomically(folder / "a",
                                [](std::ostream& out) {
                                  out << "half";
                                  throw std::runtime_error("no more");
                                }),
               std::runtime_error);
  expect_error(ErrorKind::kIo,
               [&] { write_atomically(folder / "a", [](std::ostream& out) { out.setstate(std::ios::badbit); }); });
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Files, places_that_cannot_be_written_are_io_errors) {
  const auto text = [](std::ostream& out) { out << "text"; };
  expect_error(ErrorKind::kIo, [&] { write_atomically(folder / "absent" / "a", text); });
  expect_error(ErrorKind::kIo, [&] { write_atomically(folder, text); });
  if (fs::exists("/dev/full")) expect_error(ErrorKind::kIo, [&] { write_atomically("/dev/full", text); });
  EXPECT_EQ(entries(), 0);
}

TEST_F(Files, a_read_stops_at_its_limit) {
  write("a", std::string(1000, 'x'));
  EXPECT_EQ(read_file(folder / "a", 1000).size(), 1000u);
  expect_error(ErrorKind::kInvalidArgument, [&] { read_file(folder / "a", 999); });
  if (fs::exists("/dev/zero")) expect_error(ErrorKind::kInvalidArgument, [&] { read_file("/dev/zero", 1 << 20); });
}

TEST_F(Files, what_cannot_be_read_says_why) {
  expect_error(ErrorKind::kNotFound, [&] { read_file(folder / "absent\n"); });
  expect_error(ErrorKind::kInvalidArgument, [&] { read_file(folder); });
  expect_error(ErrorKind::kInvalidArgument, [&] { read_regular_file("/dev/null", 10); });
}

TEST_F(Files, the_data_folder_follows_the_environment) {
  const std::string home = std::getenv("HOME") ? std::getenv("HOME") : "";
  ::setenv("HOME", "/h", 1);
  ::unsetenv("XDG_DATA_HOME");
  ::unsetenv("MICROTOME_HOME");
  EXPECT_EQ(data_home(), "/h/.local/share/microtome");
  ::setenv("XDG_DATA_HOME", "/x", 1);
  EXPECT_EQ(data_home(), "/x/microtome");
  ::setenv("MICROTOME_HOME", "", 1);
  EXPECT_EQ(data_home(), "/x/microtome");
  ::setenv("MICROTOME_HOME", "/m", 1);
  EXPECT_EQ(data_home(), "/m");
  ::setenv("HOME", home.c_str(), 1);
}

TEST_F(Files, a_mapped_file_shows_its_bytes_again_after_release_and_move) {
  std::string text(3 * 65536 + 5, 'a');
  text.back() = 'z';
  write("a", text);
  MappedFile file(folder / "a");
  MappedFile moved = std::move(file);
  moved.release(0, text.size());
  moved.release(1, 10);
  ASSERT_EQ(moved.bytes().size(), text.size());
  EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(moved.bytes().data()), text.size()), text);
  EXPECT_TRUE(file.bytes().empty());
}

TEST_F(Files, what_cannot_be_mapped_says_why) {
  write("empty", "");
  EXPECT_TRUE(MappedFile(folder / "empty").bytes().empty());
  expect_error(ErrorKind::kNotFound, [&] { MappedFile(folder / "absent"); });
  expect_error(ErrorKind::kInvalidArgument, [&] { MappedFile{folder}; });
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error(ErrorKind::kInvalidArgument, [&] { MappedFile(folder / "pipe"); });
}

TEST(Json, nesting_is_bounded_but_brackets_in_strings_are_text) {
  const auto nested = [](int depth) { return std::string(depth, '[') + std::string(depth, ']'); };
  EXPECT_NO_THROW(parse_json(nested(64), "here"));
  expect_error(ErrorKind::kCorrupt, [&] { parse_json(nested(65), "here"); });
  expect_error(ErrorKind::kCorrupt, [&] { parse_json(std::string(1 << 20, '['), "here"); });
  EXPECT_EQ(parse_json("\"\\\"" + std::string(100, '[') + "\"", "here").get<std::string>(), "\"" + std::string(100, '['));
}

TEST(Json, malformed_text_is_named_with_its_place) {
  for (const char* bad : {"", "{", "{\"a\":}", "[1,]", "nul", "1e999", "\"\xff\"", "\"\\ud800\"", "1 2", "NaN"})
    expect_error(ErrorKind::kCorrupt, [&] { parse_json(bad, "here"); });
  try {
    parse_json("{\"a\": x}", "config.json");
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "config.json: not JSON at byte 7");
  }
}

TEST(Json, output_is_always_json) {
  const Json value = {{"z", std::nan("")}, {"a", std::numeric_limits<double>::infinity()}, {"text", "\xff"}};
  EXPECT_EQ(dump_json(value), "{\"z\":null,\"a\":null,\"text\":\"\uFFFD\"}");
}

}  // namespace
}  // namespace microtome
