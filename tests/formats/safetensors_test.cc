#include "microtome/formats/safetensors.h"

#include <gtest/gtest.h>

#include "malformed.h"
#include "microtome/base/file.h"
#include "microtome/formats/byte_cursor.h"
#include "temp_folder.h"

namespace microtome {
namespace {

std::string file_of(const std::string& header, size_t data = 0) {
  return le<uint64_t>(header.size()) + header + std::string(data, 'd');
}
SafetensorsContents read(const std::string& file) { return read_safetensors(as_byte_span(file), "m.safetensors"); }
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

TEST(Safetensors, writer_and_reader_agree_on_every_type) {
  const TempFolder folder;
  std::string data;
  for (int i = 0; i < 48; ++i) data += static_cast<char>(i * 5);
  std::vector<CheckpointTensor> tensors;
  for (const DType dtype : {DType::kBool, DType::kI8, DType::kU8, DType::kF16, DType::kBF16, DType::kI16, DType::kU16,
                            DType::kF32, DType::kI32, DType::kU32, DType::kF64, DType::kI64, DType::kU64}) {
    const auto bytes = static_cast<size_t>(dtype_bytes(dtype, 6));
    tensors.push_back({std::string("t.\"é\n") + dtype_name(dtype), dtype, {2, 3}, as_byte_span(data).first(bytes)});
  }
  tensors.push_back({"scalar", DType::kF32, {}, as_byte_span(data).first(4)});
  tensors.push_back({"nothing", DType::kF32, {0, 4}, {}});
  const std::vector<std::pair<std::string, std::string>> metadata = {{"format", "pt"}, {"note", "a\nb"}};
  write_safetensors(folder / "m.safetensors", tensors, metadata);
  const std::string file = read_file(folder / "m.safetensors");
  const SafetensorsContents contents = read(file);
  EXPECT_EQ(contents.metadata, metadata);
  ASSERT_EQ(contents.tensors.size(), tensors.size());
  for (const CheckpointTensor& t : contents.tensors) {
    SCOPED_TRACE(t.name);
    const auto original = std::find_if(tensors.begin(), tensors.end(), [&](const auto& o) { return o.name == t.name; });
    ASSERT_NE(original, tensors.end());
    EXPECT_EQ(t.dtype, original->dtype);
    EXPECT_EQ(t.shape, original->shape);
    EXPECT_EQ(as_text(t.data), as_text(original->data));
    EXPECT_EQ((as_text(t.data).data() - file.data()) % dtype_block_bytes(t.dtype), 0);
  }
}

// Made with python's safetensors 0.8.0: save_file({"b": int64 [-1], "a": bfloat16 [[1, 2]]}, metadata={"format": "pt"}).
TEST(Safetensors, a_file_of_the_python_package_is_read) {
  const std::string header = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[1],"data_offsets":[0,8]},)"
                             R"("a":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]}}  )";
  const std::string file = le<uint64_t>(header.size()) + header + le<int64_t>(-1) + le<uint16_t>(0x3f80) + le<uint16_t>(0x4000);
  const SafetensorsContents contents = read(file);
  ASSERT_EQ(contents.tensors.size(), 2u);
  EXPECT_EQ(contents.tensors[0].name, "b");
  EXPECT_EQ(load_little_endian<int64_t>(contents.tensors[0].data.data()), -1);
  EXPECT_EQ(contents.tensors[1].dtype, DType::kBF16);
  EXPECT_EQ(contents.tensors[1].shape, (std::vector<int64_t>{1, 2}));
}

TEST(Safetensors, malformed_files_are_refused_with_one_line) {
  const std::string a = entry("a", "F32", "[2]", "[0,8]");
  struct Case {
    const char* name;
    std::string file;
    ErrorKind kind;
    const char* message;
  };
  const Case cases[] = {
      {"empty", "", ErrorKind::kCorrupt, "the header's length"},
      {"header over 100 MB", le<uint64_t>(100'000'001) + "{}", ErrorKind::kCorrupt, "at most 100000000"},
      {"header 2^64-1", le(~uint64_t{0}) + "{}", ErrorKind::kCorrupt, "at most 100000000"},
      {"header past the end", le<uint64_t>(3) + "{}", ErrorKind::kCorrupt, "cut short"},
      {"empty header", file_of(""), ErrorKind::kCorrupt, "not JSON"},
      {"not JSON", file_of("{\"a\":"), ErrorKind::kCorrupt, "not JSON"},
      {"something after it", file_of("{}x"), ErrorKind::kCorrupt, "not JSON"},
      {"not UTF-8", file_of("{\"\xff\":1}"), ErrorKind::kCorrupt, "not JSON"},
      {"a list", file_of("[]"), ErrorKind::kCorrupt, "expected an object"},
      {"a number", file_of("1"), ErrorKind::kCorrupt, "expected an object"},
      {"depth bomb", file_of(std::string(1 << 20, '[')), ErrorKind::kCorrupt, "expected an object"},
      {"depth bomb in an entry", file_of("{\"a\":" + std::string(1 << 20, '[')), ErrorKind::kCorrupt, "\"a\" holds a list"},
      {"depth bomb of objects", file_of("{\"a\":{\"shape\":{\"a\":{\"a\":"), ErrorKind::kCorrupt, "holds an object"},
      {"depth bomb in a shape", file_of("{\"a\":{\"shape\":[[["), ErrorKind::kCorrupt, "holds a list"},
      {"duplicate name", file_of("{" + a + "," + a + "}", 8), ErrorKind::kCorrupt, "names \"a\" twice"},
      {"duplicate name by escapes", file_of("{" + a + "," + entry("\\u0061", "F32", "[2]", "[0,8]") + "}", 8),
       ErrorKind::kCorrupt, "names \"a\" twice"},
      {"duplicate field", file_of(R"({"a":{"dtype":"F32","dtype":"F16"}})"), ErrorKind::kCorrupt, "the field \"dtype\""},
      {"unknown field", file_of(R"({"a":{"device":"cpu"}})"), ErrorKind::kCorrupt, "the field \"device\""},
      {"no dtype", file_of(R"({"a":{"shape":[2],"data_offsets":[0,8]}})", 8), ErrorKind::kCorrupt, "lacks its dtype"},
      {"no shape", file_of(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8), ErrorKind::kCorrupt, "lacks its shape"},
      {"no offsets", file_of(R"({"a":{"dtype":"F32","shape":[2]}})", 8), ErrorKind::kCorrupt, "lacks its data_offsets"},
      {"one offset", file_of("{" + entry("a", "F32", "[2]", "[0]") + "}", 8), ErrorKind::kCorrupt, "lacks its data_offsets"},
      {"three offsets", file_of("{" + entry("a", "F32", "[2]", "[0,8,9]") + "}", 8), ErrorKind::kCorrupt, "the number 9"},
      {"negative size", file_of("{" + entry("a", "F32", "[-2]", "[0,8]") + "}", 8), ErrorKind::kCorrupt, "the number -2"},
      {"fractional size", file_of("{" + entry("a", "F32", "[2.5]", "[0,8]") + "}", 8), ErrorKind::kCorrupt, "the number 2.5"},
      {"size 2^63", file_of("{" + entry("a", "F32", "[9223372036854775808]", "[0,8]") + "}", 8), ErrorKind::kCorrupt,
       "9223372036854775808"},
      {"size 2^64", file_of("{" + entry("a", "F32", "[18446744073709551616]", "[0,8]") + "}", 8), ErrorKind::kCorrupt,
       "18446744073709551616"},
      {"size overflows", file_of("{" + entry("a", "F32", "[4611686018427387904,4]", "[0,0]") + "}"), ErrorKind::kCorrupt,
       "not its size"},
      {"null", file_of(R"({"a":null})"), ErrorKind::kCorrupt, "holds null"},
      {"dtype a number", file_of(R"({"a":{"dtype":1}})"), ErrorKind::kCorrupt, "the number 1"},
      {"unsupported dtype", file_of("{" + entry("a", "F8_E4M3", "[2]", "[0,2]") + "}", 2), ErrorKind::kUnsupported, "F8_E4M3"},
      {"offsets past the end", file_of("{" + a + "}", 7), ErrorKind::kCorrupt, "cut short"},
      {"offsets backwards", file_of("{" + entry("a", "F32", "[2]", "[8,0]") + "}", 8), ErrorKind::kCorrupt, "bytes 8 to 0"},
      {"size is not shape times dtype", file_of("{" + entry("a", "F32", "[3]", "[0,8]") + "}", 8), ErrorKind::kCorrupt,
       "not its size"},
      {"overlap", file_of("{" + a + "," + entry("b", "F32", "[2]", "[4,12]") + "}", 12), ErrorKind::kCorrupt, "overlap"},
      {"the same bytes twice", file_of("{" + a + "," + entry("b", "F32", "[2]", "[0,8]") + "}", 8), ErrorKind::kCorrupt,
       "overlap"},
      {"hole", file_of("{" + a + "," + entry("b", "F32", "[2]", "[12,20]") + "}", 20), ErrorKind::kCorrupt,
       "belong to no tensor"},
      {"hole at the start", file_of("{" + entry("b", "F32", "[2]", "[4,12]") + "}", 12), ErrorKind::kCorrupt,
       "belong to no tensor"},
      {"bytes after the last", file_of("{" + a + "}", 9), ErrorKind::kCorrupt, "end at byte 8"},
      {"metadata not text", file_of(R"({"__metadata__":{"n":1}})"), ErrorKind::kCorrupt, "__metadata__ holds the number 1"},
      {"metadata a list", file_of(R"({"__metadata__":[]})"), ErrorKind::kCorrupt, "a list"},
      {"metadata key twice", file_of(R"({"__metadata__":{"n":"1","n":"2"}})"), ErrorKind::kCorrupt,
       "__metadata__ names \"n\" twice"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    expect_error(c.kind, c.message, [&] { read(c.file); });
  }
}

TEST(Safetensors, truncation_at_every_byte_is_refused) {
  const std::string file = file_of(
      "{\"__metadata__\":{\"k\":\"v\"}," + entry("a", "F32", "[2]", "[0,8]") + "," + entry("b", "I8", "[3]", "[8,11]") + "}", 11);
  EXPECT_NO_THROW(read(file));
  for (size_t n = 0; n < file.size(); ++n) {
    SCOPED_TRACE(n);
    expect_error(ErrorKind::kCorrupt, "m.safetensors", [&] { read(file.substr(0, n)); });
  }
}

TEST(Safetensors, writer_refuses_what_it_cannot_store) {
  const TempFolder folder;
  const std::string data(20, 'd');
  const auto write = [&](std::vector<CheckpointTensor> tensors) { write_safetensors(folder / "a.safetensors", tensors); };
  const auto four = as_byte_span(data).first(4);
  expect_error(ErrorKind::kInvalidArgument, "not its size", [&] { write({{"w", DType::kF32, {2}, four}}); });
  expect_error(ErrorKind::kInvalidArgument, "twice", [&] {
    write({{"w", DType::kF32, {1}, four}, {"w", DType::kF32, {1}, four}});
  });
  expect_error(ErrorKind::kInvalidArgument, "twice", [&] { write({{"__metadata__", DType::kF32, {1}, four}}); });
  expect_error(ErrorKind::kUnsupported, "Q4_1", [&] { write({{"w", DType::kQ4_1, {32}, as_byte_span(data)}}); });
  EXPECT_FALSE(std::filesystem::exists(folder / "a.safetensors"));
}

}  // namespace
}  // namespace microtome
