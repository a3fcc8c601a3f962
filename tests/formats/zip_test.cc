#include "microtome/formats/zip.h"

#include <gtest/gtest.h>

#include <sstream>

#include "malformed.h"
#include "microtome/base/file.h"
#include "microtome/formats/byte_cursor.h"

namespace microtome {
namespace {

const std::filesystem::path kData = std::filesystem::path(MICROTOME_TEST_DATA) / "formats/data";

std::string content(const ZipReader& zip, const std::string& name) {
  std::ostringstream out;
  zip.extract(zip.get(name), out);
  return out.str();
}

// A stream that can be written, but not rewound.
class Pipe : public std::stringbuf {
 protected:
  pos_type seekoff(off_type, std::ios_base::seekdir, std::ios_base::openmode) override { return pos_type(off_type(-1)); }
  pos_type seekpos(pos_type, std::ios_base::openmode) override { return pos_type(off_type(-1)); }
};

void write_sample(std::ostream& out, uint64_t zip64_above = ~uint64_t{0} >> 1) {
  ZipWriter zip(out, zip64_above);
  const std::string text(100000, 'x');
  zip.begin("stored", 6, false);
  zip.write(as_byte_span("abc"));
  zip.write(as_byte_span("def"));
  zip.end();
  zip.begin("deflated", text.size(), true);
  zip.write(as_byte_span(text));
  zip.end();
  zip.begin("empty", 0, true);
  zip.end();
  zip.finish();
}

std::string sample() {
  std::ostringstream out;
  write_sample(out);
  return out.str();
}

void check_sample(const std::string& file) {
  const ZipReader zip(as_byte_span(file), "a.zip");
  ASSERT_EQ(zip.entries().size(), 3u);
  EXPECT_EQ(content(zip, "stored"), "abcdef");
  EXPECT_EQ(content(zip, "deflated"), std::string(100000, 'x'));
  EXPECT_LT(zip.get("deflated").packed_size, 1000u);
  EXPECT_EQ(content(zip, "empty"), "");
}

TEST(Zip, what_is_written_is_read) {
  check_sample(sample());
  std::ostringstream wide;
  write_sample(wide, 0);
  check_sample(wide.str());
  for (const uint64_t above : {uint64_t{0}, uint64_t{1} << 40}) {
    Pipe buffer;
    std::ostream pipe(&buffer);
    write_sample(pipe, above);
    check_sample(buffer.str());
  }
}

TEST(Zip, an_archive_may_begin_inside_a_stream) {
  std::ostringstream out;
  out << "before";
  write_sample(out);
  check_sample(out.str().substr(6));
}

TEST(Zip, more_than_65535_entries_are_kept) {
  std::ostringstream out;
  ZipWriter zip(out);
  for (int i = 0; i < 65600; ++i) {
    zip.begin(std::to_string(i), 0, false);
    zip.end();
  }
  zip.finish();
  const std::string file = out.str();
  EXPECT_EQ(ZipReader(as_byte_span(file), "a.zip").entries().size(), 65600u);
}

TEST(Zip, archives_of_python_are_read) {
  const ZipReader zip(kData / "plain.zip");
  EXPECT_EQ(zip.entries().size(), 5u);
  EXPECT_EQ(content(zip, "folder/"), "");
  EXPECT_EQ(content(zip, "folder/stored.txt"), "stored text\n");
  EXPECT_EQ(content(zip, "deflated.txt").substr(9980), "many times the same\n");
  EXPECT_EQ(content(zip, "zip64.txt"), "sixty-four bits");
  expect_error(ErrorKind::kUnsupported, "packed with LZMA (method 14)", [&] { content(zip, "lzma.txt"); });
  expect_error(ErrorKind::kNotFound, "holds no \"absent\"", [&] { content(zip, "absent"); });
  EXPECT_EQ(zip.find("absent"), nullptr);
  const ZipReader piped(kData / "piped.zip");
  EXPECT_EQ(content(piped, "a.txt").size(), 180u);
}

TEST(Zip, extraction_reports_progress_and_can_be_cancelled) {
  const std::string file = sample();
  const ZipReader zip(as_byte_span(file), "a.zip");
  double done = 0;
  Progress progress([&](const ProgressReport& r) { done = r.done; }, 0);
  std::ostringstream out;
  zip.extract(zip.get("deflated"), out, &progress);
  EXPECT_EQ(done, 100000);
  progress.cancel();
  expect_error(ErrorKind::kCancelled, "interrupted", [&] { zip.extract(zip.get("deflated"), out, &progress); });
}

TEST(Zip, reading_into_memory_is_limited) {
  const std::string file = sample();
  const ZipReader zip(as_byte_span(file), "a.zip");
  EXPECT_EQ(zip.read(zip.get("deflated"), 100000).size(), 100000u);
  expect_error(ErrorKind::kInvalidArgument, "unpacks to 100000 bytes, the limit is 99999",
               [&] { zip.read(zip.get("deflated"), 99999); });
}

TEST(Zip, a_failing_output_is_reported) {
  const std::string file = sample();
  const ZipReader zip(as_byte_span(file), "a.zip");
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  expect_error(ErrorKind::kIo, "disk full?", [&] { zip.extract(zip.get("stored"), out); });
  expect_error(ErrorKind::kIo, "disk full?", [&] { write_sample(out); });
}

TEST(Zip, the_writer_holds_callers_to_what_they_announced) {
  std::ostringstream out;
  ZipWriter zip(out);
  zip.begin("a", 3, false);
  expect_error(ErrorKind::kInvalidArgument, "more than the announced 3 bytes", [&] { zip.write(as_byte_span("abcd")); });
  expect_error(ErrorKind::kInvalidArgument, "got 0 of the announced 3 bytes", [&] { zip.end(); });
  zip.write(as_byte_span("abc"));
  zip.end();
  expect_error(ErrorKind::kInvalidArgument, "there already", [&] { zip.begin("a", 3, false); });
  expect_error(ErrorKind::kInvalidArgument, "empty", [&] { zip.begin("", 3, false); });
  expect_error(ErrorKind::kInvalidArgument, "65535", [&] { zip.begin(std::string(65536, 'n'), 3, false); });
}

template <class T>
std::string patched(std::string file, size_t at, T value) {
  return file.replace(at, sizeof value, le(value));
}

TEST(Zip, malformed_archives_are_refused_with_one_line) {
  const std::string good = sample();
  const size_t end = good.rfind("PK\5\6"), directory = good.find("PK\1\2"), second = good.find("PK\1\2", directory + 1);
  std::ostringstream wide_out;
  write_sample(wide_out, 0);
  const std::string wide = wide_out.str();
  const size_t end64 = wide.rfind("PK\6\6"), locator = wide.rfind("PK\6\7"), wide_directory = wide.find("PK\1\2");
  const size_t wide_extra = wide_directory + 46 + 6;  // of "stored"
  struct Case {
    const char* name;
    std::string file;
    ErrorKind kind;
    const char* message;
  };
  const Case cases[] = {
      {"empty", "", ErrorKind::kCorrupt, "no zip archive"},
      {"something else", std::string(1000, 'x'), ErrorKind::kCorrupt, "no zip archive"},
      {"cut short", good.substr(0, good.size() - 1), ErrorKind::kCorrupt, "no zip archive"},
      {"two parts", patched<uint16_t>(good, end + 4, 1), ErrorKind::kUnsupported, "several parts"},
      {"entries missing here", patched<uint16_t>(good, end + 8, 2), ErrorKind::kUnsupported, "several parts"},
      {"more entries than there are", patched<uint32_t>(good, end + 8, 4 | 4 << 16), ErrorKind::kCorrupt, "directory"},
      {"65535 entries", patched<uint32_t>(good, end + 8, ~0u), ErrorKind::kCorrupt, "65535 entries"},
      {"directory past the end", patched<uint32_t>(good, end + 16, ~0u), ErrorKind::kCorrupt, "at byte 4294967295"},
      {"directory too long", patched<uint32_t>(good, end + 12, ~0u), ErrorKind::kCorrupt, "4294967295 bytes"},
      {"directory elsewhere", patched<uint32_t>(good, end + 16, 1), ErrorKind::kCorrupt, "no directory entry"},
      {"entry past the directory", patched<uint32_t>(good, directory + 42, ~1u), ErrorKind::kCorrupt,
       "past the start of the directory"},
      {"entry too long", patched<uint32_t>(good, directory + 20, ~1u), ErrorKind::kCorrupt, "past the start of the directory"},
      {"zip64 size without its field", patched<uint32_t>(good, directory + 20, ~0u), ErrorKind::kCorrupt, "past the start"},
      {"name too long", patched<uint16_t>(good, directory + 28, 0xffff), ErrorKind::kCorrupt, "an entry's name"},
      {"extra fields too long", patched<uint16_t>(good, directory + 30, 0xffff), ErrorKind::kCorrupt, "an entry's extra fields"},
      {"comment too long", patched<uint16_t>(good, directory + 32, 0xffff), ErrorKind::kCorrupt, "an entry's comment"},
      {"two entries over the same bytes", patched<uint32_t>(good, second + 42, 0), ErrorKind::kCorrupt, "overlap"},
      {"two entries that overlap", patched<uint32_t>(good, second + 42, 10), ErrorKind::kCorrupt, "overlap"},
      {"zip64 end past the end", patched<uint64_t>(wide, locator + 8, ~uint64_t{0}), ErrorKind::kCorrupt, "past the end"},
      {"zip64 end elsewhere", patched<uint64_t>(wide, locator + 8, 3), ErrorKind::kCorrupt, "no zip64 end record"},
      {"zip64 end cut", patched<uint64_t>(wide, locator + 8, wide.size() - 3), ErrorKind::kCorrupt, "the zip64 end record"},
      {"2^63 entries", patched<uint64_t>(patched<uint64_t>(wide, end64 + 24, uint64_t{1} << 63), end64 + 32, uint64_t{1} << 63),
       ErrorKind::kCorrupt, "9223372036854775808 entries"},
      {"zip64 directory overflows", patched<uint64_t>(wide, end64 + 40, ~uint64_t{0}), ErrorKind::kCorrupt, "directory"},
      {"zip64 directory at 2^64-1", patched<uint64_t>(wide, end64 + 48, ~uint64_t{0}), ErrorKind::kCorrupt, "directory"},
      {"zip64 entry of 2^64-1 bytes", patched<uint64_t>(wide, wide_extra + 12, ~uint64_t{0}), ErrorKind::kCorrupt,
       "past the start"},
      {"zip64 field too short", patched<uint16_t>(wide, wide_extra + 2, 8), ErrorKind::kCorrupt, "a zip64 field"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    expect_error(c.kind, c.message, [&] { ZipReader(as_byte_span(c.file), "a.zip"); });
  }
}

TEST(Zip, damaged_entries_are_refused_with_one_line) {
  const std::string good = sample();
  const size_t directory = good.find("PK\1\2"), second = good.find("PK\1\2", directory + 1);
  const size_t second_local = good.find("PK\3\4", 4), second_data = second_local + 30 + 8;
  struct Case {
    const char* name;
    const char* entry;
    std::string file;
    ErrorKind kind;
    const char* message;
  };
  const Case cases[] = {
      {"encrypted", "stored", patched<uint16_t>(good, directory + 8, 1), ErrorKind::kUnsupported, "is encrypted"},
      {"method 99", "stored", patched<uint16_t>(good, directory + 10, 99), ErrorKind::kUnsupported,
       "an unknown method (method 99)"},
      {"checksum", "stored", patched<uint32_t>(good, directory + 16, 1), ErrorKind::kCorrupt, "another checksum"},
      {"another byte", "stored", patched<char>(good, 30 + 6, 'X'), ErrorKind::kCorrupt, "another checksum"},
      {"sizes disagree", "stored", patched<uint32_t>(good, directory + 24, 7), ErrorKind::kCorrupt, "another number of bytes"},
      {"no local header", "stored", patched<char>(good, 0, 'X'), ErrorKind::kCorrupt, "no local header"},
      {"another name", "stored", patched<char>(good, 30, 'X'), ErrorKind::kCorrupt, "another name"},
      {"local name too long", "stored", patched<uint16_t>(good, 26, 0xffff), ErrorKind::kCorrupt, "a local header's name"},
      {"local extra too long", "stored", patched<uint16_t>(good, 28, 0xffff), ErrorKind::kCorrupt, "extra fields"},
      {"not deflate", "deflated", patched<uint32_t>(good, second_data, ~0u), ErrorKind::kCorrupt, "cannot be unpacked"},
      {"longer than announced", "deflated", patched<uint32_t>(good, second + 24, 99999), ErrorKind::kCorrupt,
       "more than the announced"},
      {"shorter than announced", "deflated", patched<uint32_t>(good, second + 24, 100001), ErrorKind::kCorrupt,
       "less than the announced"},
      {"announced out of all proportion", "deflated", patched<uint32_t>(good, second + 24, ~1u), ErrorKind::kCorrupt,
       "too short"},
      {"packed data cut short", "deflated", patched<uint32_t>(good, second + 20, 60), ErrorKind::kCorrupt, ""},
      {"a deflated entry taken as stored", "deflated", patched<uint16_t>(good, second + 10, 0), ErrorKind::kCorrupt,
       "another number"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const ZipReader zip(as_byte_span(c.file), "a.zip");
    expect_error(c.kind, c.message, [&] { content(zip, c.entry); });
    expect_error(c.kind, c.message, [&] { zip.read(zip.get(c.entry), ~uint64_t{0}); });
  }
}

TEST(Zip, truncation_at_every_byte_is_refused) {
  const std::string good = sample();
  for (size_t n = 0; n < good.size(); ++n) {
    SCOPED_TRACE(n);
    const std::string file = good.substr(0, n);
    expect_error(ErrorKind::kCorrupt, "a.zip", [&] { ZipReader(as_byte_span(file), "a.zip"); });
  }
}

TEST(Zip, two_entries_of_one_name_are_refused) {
  std::ostringstream out;
  ZipWriter zip(out);
  for (const char* name : {"a", "b"}) {
    zip.begin(name, 0, false);
    zip.end();
  }
  zip.finish();
  std::string file = out.str();
  file[file.rfind('b')] = 'a';
  expect_error(ErrorKind::kCorrupt, "\"a\" appears twice", [&] { ZipReader(as_byte_span(file), "a.zip"); });
}

}  // namespace
}  // namespace microtome
