#include "microtome/formats/npz.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "malformed.h"
#include "microtome/base/file.h"
#include "microtome/formats/byte_cursor.h"
#include "temp_folder.h"

namespace microtome {
namespace {

const std::filesystem::path kData = std::filesystem::path(MICROTOME_TEST_DATA) / "formats/data";
using Sizes = std::vector<int64_t>;

template <class T>
std::vector<T> values(const NpyArray& a) {
  const auto view = a.as<T>();
  return {view.begin(), view.end()};
}

TEST(Npz, files_of_numpy_are_read) {
  for (const char* name : {"stored.npz", "deflated.npz"}) {
    SCOPED_TRACE(name);
    const auto arrays = read_npz(kData / name);
    ASSERT_EQ(arrays.size(), 6u);
    const NpyArray& ints = arrays.at("ints");
    EXPECT_EQ(ints.dtype, DType::kI32);
    EXPECT_EQ(ints.shape, (Sizes{2, 3}));
    EXPECT_EQ(values<int32_t>(ints), (std::vector<int32_t>{0, 1, 2, 3, 4, 5}));
    EXPECT_EQ(ints.integers(), (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
    const NpyArray& fortran = arrays.at("fortran");
    EXPECT_EQ(fortran.shape, (Sizes{2, 3, 4}));
    for (int i = 0; i < 24; ++i) EXPECT_EQ(fortran.as<float>()[i], i);
    EXPECT_EQ(arrays.at("half").floats(), (std::vector<float>{1.5f, -2, 65504, std::ldexp(1.f, -24), INFINITY}));
    EXPECT_EQ(arrays.at("scalar").shape, Sizes{});
    EXPECT_EQ(arrays.at("scalar").integers(), std::vector<int64_t>{-7});
    EXPECT_EQ(arrays.at("bools").dtype, DType::kBool);
    EXPECT_EQ(arrays.at("bools").floats(), (std::vector<float>{1, 0, 1}));
    EXPECT_EQ(arrays.at("empty").shape, (Sizes{0, 5}));
    EXPECT_EQ(arrays.at("empty").size(), 0);
  }
  EXPECT_EQ(read_npy(kData / "version2.npy").integers(), (std::vector<int64_t>{3, 1, 2}));
}

TEST(Npz, headers_are_the_bytes_that_numpy_writes) {
  const std::string expected = std::string("\x93NUMPY\x01\x00v\x00", 10) +
                               "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }" + std::string(60, ' ') + "\n";
  EXPECT_EQ(npy_header(DType::kI64, {3}), expected);
  EXPECT_NE(npy_header(DType::kBool, {}).find("'descr': '|b1', 'fortran_order': False, 'shape': (), }"), std::string::npos);
  EXPECT_EQ(npy_header(DType::kF32, std::vector<int64_t>(60, 1000)).size() % 64, 0u);
}

TEST(Npz, every_dtype_makes_the_round_trip) {
  const TempFolder folder;
  std::string data;
  for (int i = 0; i < 48; ++i) data += static_cast<char>(i);
  const DType dtypes[] = {DType::kF32, DType::kF64, DType::kF16, DType::kI32, DType::kI64, DType::kU8,
                          DType::kI8,  DType::kI16, DType::kU16, DType::kU32, DType::kU64, DType::kBool};
  for (const bool deflate : {false, true}) {
    write_npz(folder / "a.npz", {deflate}, [&](NpzWriter& npz) {
      for (const DType dtype : dtypes) {
        npz.add(dtype_name(dtype), dtype, {2, 3}, as_byte_span(data).first(static_cast<size_t>(dtype_bytes(dtype, 6))));
      }
      npz.add("empty", DType::kF64, {0, 5}, {});
      npz.begin("in.pieces", DType::kU8, {48});
      for (int i = 0; i < 4; ++i) npz.write(as_byte_span(data).subspan(12 * i, 12));
      npz.end();
    });
    const NpzReader npz(folder / "a.npz");
    EXPECT_EQ(npz.names().size(), std::size(dtypes) + 2);
    for (const DType dtype : dtypes) {
      const NpyArray a = npz.read(dtype_name(dtype));
      EXPECT_EQ(a.dtype, dtype);
      EXPECT_EQ(a.shape, (Sizes{2, 3}));
      EXPECT_EQ(as_text(a.data), data.substr(0, static_cast<size_t>(dtype_bytes(dtype, 6))));
    }
    EXPECT_EQ(as_text(npz.read("in.pieces").data), data);
    EXPECT_EQ(npz.read("empty").shape, (Sizes{0, 5}));
    EXPECT_FALSE(npz.contains("absent"));
    expect_error(ErrorKind::kNotFound, "no array \"absent\"; it holds: F32, F64", [&] { npz.read("absent"); });
    expect_error(ErrorKind::kInvalidArgument, "the limit is 10", [&] { npz.read("F32", 10); });
  }
}

TEST(Npz, a_failed_write_leaves_the_old_file) {
  const TempFolder folder;
  folder.write("a.npz", "old");
  const std::string data(8, 'd');
  const auto fill = [&](auto add) { write_npz(folder / "a.npz", {}, add); };
  expect_error(ErrorKind::kInvalidArgument, "more than the announced",
               [&] { fill([&](NpzWriter& npz) { npz.add("a", DType::kF32, {1}, as_byte_span(data)); }); });
  expect_error(ErrorKind::kInvalidArgument, "of the announced",
               [&] { fill([&](NpzWriter& npz) { npz.add("a", DType::kF32, {3}, as_byte_span(data)); }); });
  expect_error(ErrorKind::kUnsupported, "NumPy has no BF16",
               [&] { fill([&](NpzWriter& npz) { npz.add("a", DType::kBF16, {4}, as_byte_span(data)); }); });
  expect_error(ErrorKind::kInvalidArgument, "too large", [&] {
    fill([&](NpzWriter& npz) { npz.begin("a", DType::kF32, {int64_t{1} << 62, 4}); });
  });
  EXPECT_EQ(read_file(folder / "a.npz"), "old");
}

TEST(Npz, a_full_disk_is_one_line) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const std::string data(1 << 20, 'd');
  expect_error(ErrorKind::kIo, "", [&] {
    write_npz("/dev/full", {}, [&](NpzWriter& npz) { npz.add("a", DType::kU8, {1 << 20}, as_byte_span(data)); });
  });
}

TEST(Npy, single_arrays_make_the_round_trip) {
  const TempFolder folder;
  const std::vector<float> data = {1, 2, 3};
  write_npy(folder / "a.npy", DType::kF32, {3, 1}, std::as_bytes(std::span(data)));
  EXPECT_EQ(read_npy(folder / "a.npy").floats(), data);
  EXPECT_EQ(read_npy(folder / "a.npy").shape, (Sizes{3, 1}));
  expect_error(ErrorKind::kInvalidArgument, "are not an array", [&] { write_npy(folder / "a.npy", DType::kF32, {4}, {}); });
  expect_error(ErrorKind::kNotFound, "absent.npy", [&] { read_npy(folder / "absent.npy"); });
}

TEST(Npy, numbers_are_converted_or_refused) {
  const auto array = [](DType dtype, const std::string& bytes) {
    const auto view = as_byte_span(bytes);
    return NpyArray{dtype, {1}, {view.begin(), view.end()}};
  };
  EXPECT_EQ(array(DType::kU64, le<uint64_t>(5)).integers(), std::vector<int64_t>{5});
  EXPECT_EQ(array(DType::kI8, le<int8_t>(-5)).floats(), std::vector<float>{-5});
  EXPECT_EQ(array(DType::kF64, le<double>(0.5)).floats(), std::vector<float>{0.5f});
  EXPECT_TRUE(std::isnan(array(DType::kF16, le<uint16_t>(0x7e00)).floats()[0]));
  expect_error(ErrorKind::kInvalidArgument, "18446744073709551615", [&] { array(DType::kU64, le(~uint64_t{0})).integers(); });
  expect_error(ErrorKind::kInvalidArgument, "F32 where integers", [&] { array(DType::kF32, le(1.f)).integers(); });
}

std::string npy(const std::string& header, const std::string& data = "", uint8_t major = 1) {
  const std::string length = major == 1 ? le<uint16_t>(header.size()) : le<uint32_t>(header.size());
  return "\x93NUMPY" + le(major) + le<uint8_t>(0) + length + header + data;
}
std::string fields(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

TEST(Npy, malformed_files_are_refused_with_one_line) {
  const std::string good = fields("'<f4'", "False", "(2,)");
  struct Case {
    const char* name;
    std::string file;
    ErrorKind kind;
    const char* message;
  };
  const Case cases[] = {
      {"empty", "", ErrorKind::kCorrupt, "the npy mark"},
      {"something else", "PK\3\4xxxxxxxx", ErrorKind::kCorrupt, "not a NumPy file"},
      {"version 0", npy(good, "abcdefgh", 0), ErrorKind::kUnsupported, "version 0"},
      {"version 4", npy(good, "abcdefgh", 4), ErrorKind::kUnsupported, "version 4"},
      {"header past the end", npy(good).substr(0, 40), ErrorKind::kCorrupt, "cut short"},
      {"header 2^32-1", "\x93NUMPY\2" + le<uint8_t>(0) + le(~uint32_t{0}), ErrorKind::kCorrupt, "the header takes 4294967295"},
      {"no header", npy(""), ErrorKind::kCorrupt, "lacks a '{'"},
      {"no end", npy("{'descr': '<f4'"), ErrorKind::kCorrupt, "lacks a '}'"},
      {"text without end", npy("{'descr"), ErrorKind::kCorrupt, "without its end"},
      {"more behind it", npy(good + "x"), ErrorKind::kCorrupt, "goes on"},
      {"unknown key", npy("{'device': 'cpu'}"), ErrorKind::kCorrupt, "'device', unknown"},
      {"key twice", npy("{'descr': '<f4', 'descr': '<f4'}"), ErrorKind::kCorrupt, "a second time"},
      {"lacks the shape", npy("{'descr': '<f4', 'fortran_order': False}"), ErrorKind::kCorrupt, "lacks descr"},
      {"order a number", npy(fields("'<f4'", "0", "(2,)")), ErrorKind::kCorrupt, "True or False"},
      {"negative size", npy(fields("'<f4'", "False", "(-2,)")), ErrorKind::kCorrupt, "lacks a size"},
      {"size 2^63", npy(fields("'<f4'", "False", "(9223372036854775808,)")), ErrorKind::kCorrupt, "lacks a size"},
      {"size overflows", npy(fields("'<f4'", "False", "(4611686018427387904, 4)")), ErrorKind::kCorrupt, "too large"},
      {"bytes overflow", npy(fields("'<f4'", "False", "(4611686018427387904,)")), ErrorKind::kCorrupt, "too large"},
      {"nested shape", npy(fields("'<f4'", "False", "((2,),)")), ErrorKind::kCorrupt, "lacks a size"},
      {"65 dimensions",
       npy(fields(
           "'<f4'", "False",
           "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,"
           "1,1,1,1,1,1,1,1,1)")),
       ErrorKind::kCorrupt, "too many dimensions"},
      {"data cut short", npy(good, "abcdefg"), ErrorKind::kCorrupt, "the array takes 8 bytes"},
      {"data too long", npy(good, "abcdefghi"), ErrorKind::kCorrupt, "1 bytes behind the array"},
      {"big-endian", npy(fields("'>f4'", "False", "(2,)")), ErrorKind::kUnsupported, "big-endian >f4"},
      {"objects", npy(fields("'|O'", "False", "(2,)")), ErrorKind::kUnsupported, "'|O'"},
      {"text", npy(fields("'<U5'", "False", "(2,)")), ErrorKind::kUnsupported, "'<U5'"},
      {"complex", npy(fields("'<c8'", "False", "(2,)")), ErrorKind::kUnsupported, "'<c8'"},
      {"a structure", npy(fields("[('a', '<f4')]", "False", "(2,)")), ErrorKind::kUnsupported, "a structure"},
      {"no dtype", npy(fields("''", "False", "(2,)")), ErrorKind::kUnsupported, "''"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    expect_error(c.kind, c.message, [&] { parse_npy(as_byte_span(c.file), "a.npy"); });
  }
  const std::string whole = npy(good, "abcdefgh");
  EXPECT_EQ(parse_npy(as_byte_span(whole), "a.npy").size(), 2);
  for (size_t n = 0; n < whole.size(); ++n) {
    SCOPED_TRACE(n);
    expect_error(ErrorKind::kCorrupt, "a.npy", [&] { parse_npy(as_byte_span(whole).first(n), "a.npy"); });
  }
}

}  // namespace
}  // namespace microtome
