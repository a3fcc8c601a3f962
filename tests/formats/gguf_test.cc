#include "microtome/formats/gguf.h"

#include <gtest/gtest.h>

#include <map>

#include "malformed.h"
#include "microtome/base/file.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/checkpoint.h"
#include "temp_folder.h"

namespace microtome {
namespace {

std::string text(const std::string& s) { return le<uint64_t>(s.size()) + s; }
std::string header(uint64_t tensors, uint64_t pairs, uint32_t version = 3) {
  return "GGUF" + le<uint32_t>(version) + le<uint64_t>(tensors) + le<uint64_t>(pairs);
}
std::string u32_pair(const std::string& key, uint32_t value) { return text(key) + le<uint32_t>(4) + le<uint32_t>(value); }
std::string tensor(const std::string& name, std::initializer_list<uint64_t> sizes, uint32_t type, uint64_t offset) {
  std::string out = text(name) + le<uint32_t>(static_cast<uint32_t>(sizes.size()));
  for (const uint64_t size : sizes) out += le(size);
  return out + le(type) + le(offset);
}
std::string padded(std::string s, size_t alignment = 32) {
  s.resize((s.size() + alignment - 1) / alignment * alignment, '\0');
  return s;
}
GgufContents read(const std::string& file) { return read_gguf(as_byte_span(file), "t.gguf"); }

std::vector<CheckpointTensor> sample_tensors(const std::string& data) {
  const auto bytes = as_byte_span(data);
  return {{"norm", DType::kF32, {3}, bytes.first(12)},      {"half", DType::kF16, {2, 3}, bytes.first(12)},
          {"brain", DType::kBF16, {3, 2}, bytes.first(12)}, {"q4_0", DType::kQ4_0, {2, 32}, bytes.first(36)},
          {"q4_1", DType::kQ4_1, {1, 64}, bytes.first(40)}, {"q8_0", DType::kQ8_0, {1, 2, 32}, bytes.first(68)}};
}

TEST(Gguf, writer_and_reader_agree_on_every_type) {
  const TempFolder folder;
  std::string data;
  for (int i = 0; i < 68; ++i) data += static_cast<char>(i * 7);
  const auto tensors = sample_tensors(data);
  const std::vector<std::pair<std::string, GgufValue>> pairs = {{"u8", uint8_t{200}},
                                                                {"i8", int8_t{-3}},
                                                                {"u16", uint16_t{60000}},
                                                                {"i16", int16_t{-300}},
                                                                {"u32", uint32_t{4000000000}},
                                                                {"i32", int32_t{-5}},
                                                                {"f32", 1.5f},
                                                                {"bool", true},
                                                                {"string", std::string("a\0b", 3)},
                                                                {"u64", uint64_t{1} << 63},
                                                                {"i64", int64_t{-1} << 62},
                                                                {"f64", 0.1},
                                                                {"strings", std::vector<std::string>{"", "Ġthe", "x"}},
                                                                {"i32s", std::vector<int32_t>{-1, 2}},
                                                                {"u32s", std::vector<uint32_t>{7, 4000000000}},
                                                                {"f32s", std::vector<float>{0.5f, -2}},
                                                                {"empty", std::vector<std::string>{}}};
  for (const uint32_t alignment : {1u, 32u, 4096u}) {
    write_gguf(folder / "a.gguf", tensors, pairs, alignment);
    const Checkpoint c = open_checkpoint(folder / "a.gguf");
    EXPECT_EQ(c.format(), CheckpointFormat::kGguf);
    ASSERT_EQ(c.tensors().size(), tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i) {
      EXPECT_EQ(c.tensors()[i].name, tensors[i].name);
      EXPECT_EQ(c.tensors()[i].dtype, tensors[i].dtype);
      EXPECT_EQ(c.tensors()[i].shape, tensors[i].shape);
      EXPECT_EQ(as_text(c.tensors()[i].data), as_text(tensors[i].data));
    }
    const Metadata& m = c.metadata();
    EXPECT_EQ(m.u64("u8"), 200u);
    EXPECT_EQ(m.i64("i8"), -3);
    EXPECT_EQ(m.u64("u16"), 60000u);
    EXPECT_EQ(m.i64("i16"), -300);
    EXPECT_EQ(m.u64("u32"), 4000000000u);
    EXPECT_EQ(m.i64("i32"), -5);
    EXPECT_EQ(m.f64("f32"), 1.5);
    EXPECT_EQ(m.boolean("bool"), true);
    EXPECT_EQ(m.string("string"), std::string_view("a\0b", 3));
    EXPECT_EQ(m.u64("u64"), uint64_t{1} << 63);
    EXPECT_EQ(m.i64("i64"), int64_t{-1} << 62);
    EXPECT_EQ(m.f64("f64"), 0.1);
    EXPECT_EQ(m.strings("strings"), (std::vector<std::string_view>{"", "Ġthe", "x"}));
    EXPECT_EQ(m.i32s("i32s"), (std::vector<int32_t>{-1, 2}));
    EXPECT_EQ(m.f32s("u32s"), (std::vector<float>{7, 4000000000.f}));
    EXPECT_EQ(m.f32s("f32s"), (std::vector<float>{0.5f, -2}));
    EXPECT_EQ(m.strings("empty")->size(), 0u);
    EXPECT_EQ(m.find("absent"), nullptr);
    EXPECT_EQ(m.u64("absent"), std::nullopt);
    EXPECT_EQ(m.strings("absent"), std::nullopt);
  }
}

TEST(Gguf, metadata_of_another_type_is_named) {
  const std::string file = header(0, 3) + u32_pair("n", 7) + text("s") + le<uint32_t>(8) + text("x") + text("a") +
                           le<uint32_t>(9) + le<uint32_t>(10) + le<uint64_t>(1) + le<uint64_t>(uint64_t{1} << 40);
  const GgufContents c = read(file);
  expect_error(ErrorKind::kCorrupt, "key \"n\" holds u32 7, expected a string", [&] { c.metadata.string("n"); });
  expect_error(ErrorKind::kCorrupt, "key \"s\" holds string, expected a number", [&] { c.metadata.f64("s"); });
  expect_error(ErrorKind::kCorrupt, "key \"s\" holds string", [&] { c.metadata.u64("s"); });
  expect_error(ErrorKind::kCorrupt, "an array of 1 u64, expected an array of strings", [&] { c.metadata.strings("a"); });
  expect_error(ErrorKind::kCorrupt, "expected an array of 32-bit integers", [&] { c.metadata.i32s("a"); });
  expect_error(ErrorKind::kCorrupt, "expected a bool", [&] { c.metadata.boolean("a"); });
}

TEST(Gguf, nested_arrays_are_walked_and_bounded) {
  const auto nested = [](int depth) {
    std::string value = le<uint32_t>(9);
    for (int i = 1; i < depth; ++i) value += le<uint32_t>(9) + le<uint64_t>(1);
    return header(0, 2) + text("a") + value + le<uint32_t>(0) + le<uint64_t>(2) + "xy" + u32_pair("after", 5);
  };
  EXPECT_EQ(read(nested(2)).metadata.u64("after"), 5u);
  EXPECT_EQ(read(nested(8)).metadata.u64("after"), 5u);
  expect_error(ErrorKind::kCorrupt, "nested deeper", [&] { read(nested(9)); });
  expect_error(ErrorKind::kCorrupt, "nested deeper", [&] { read(nested(100000)); });
}

TEST(Gguf, version_2_is_read) {
  const std::string file = padded(header(1, 0, 2) + tensor("w", {2, 3}, 0, 0)) + std::string(24, 'x');
  const GgufContents c = read(file);
  EXPECT_EQ(c.version, 2u);
  EXPECT_EQ(c.tensors[0].shape, (std::vector<int64_t>{3, 2}));
}

TEST(Gguf, a_file_without_tensors_may_end_with_its_header) { EXPECT_TRUE(read(header(0, 0)).tensors.empty()); }

TEST(Gguf, malformed_files_are_refused_with_one_line) {
  constexpr uint64_t kHuge = uint64_t{1} << 63;
  const std::string data(64, 'x');
  const auto with_alignment = [&](const std::string& pair, uint64_t offset = 0) {
    return padded(header(1, 1) + pair + tensor("w", {4}, 0, offset)) + data;
  };
  struct Case {
    const char* name;
    std::string file;
    ErrorKind kind;
    const char* message;
  };
  const Case cases[] = {
      {"empty", "", ErrorKind::kCorrupt, "cut short"},
      {"other magic", "PK\3\4" + std::string(60, '\0'), ErrorKind::kCorrupt, "expected \"GGUF\""},
      {"version 1", header(0, 0, 1), ErrorKind::kUnsupported, "version 1"},
      {"version 4", header(0, 0, 4), ErrorKind::kUnsupported, "version 4"},
      {"big-endian", header(0, 0, 0x03000000), ErrorKind::kUnsupported, "big-endian"},
      {"2^63 pairs", header(0, kHuge), ErrorKind::kCorrupt, "9223372036854775808 key/value pairs"},
      {"2^63 tensors", header(kHuge, 0), ErrorKind::kCorrupt, "9223372036854775808 tensors"},
      {"huge key", header(0, 1) + le<uint64_t>(~uint64_t{0}) + "abcdefgh", ErrorKind::kCorrupt, "a key takes"},
      {"unknown value type", header(0, 1) + text("k") + le<uint32_t>(13) + "xxxx", ErrorKind::kCorrupt, "type 13"},
      {"huge array", header(0, 1) + text("k") + le<uint32_t>(9) + le<uint32_t>(10) + le<uint64_t>(kHuge / 4), ErrorKind::kCorrupt,
       "array elements"},
      {"huge string array", header(0, 1) + text("k") + le<uint32_t>(9) + le<uint32_t>(8) + le<uint64_t>(kHuge),
       ErrorKind::kCorrupt, "array elements"},
      {"duplicate key", header(0, 2) + u32_pair("k", 1) + u32_pair("k", 2), ErrorKind::kCorrupt, "key \"k\" appears twice"},
      {"duplicate tensor", padded(header(2, 0) + tensor("w", {4}, 0, 0) + tensor("w", {4}, 0, 32)) + data, ErrorKind::kCorrupt,
       "tensor \"w\" appears twice"},
      {"long name", header(1, 0) + tensor(std::string(65, 'n'), {4}, 0, 0), ErrorKind::kCorrupt, "name of 65 bytes"},
      {"five dimensions", header(1, 0) + tensor("w", {1, 1, 1, 1, 1}, 0, 0), ErrorKind::kCorrupt, "5 dimensions"},
      {"2^32-1 dimensions", header(1, 0) + text("w") + le<uint32_t>(~uint32_t{0}) + data, ErrorKind::kCorrupt, "dimensions"},
      {"dimension 2^63", header(1, 0) + tensor("w", {kHuge}, 0, 0), ErrorKind::kCorrupt, "a dimension of"},
      {"size overflows", header(1, 0) + tensor("w", {kHuge / 2, 4}, 0, 0), ErrorKind::kCorrupt, "too large"},
      {"bytes overflow", header(1, 0) + tensor("w", {kHuge / 2}, 0, 0), ErrorKind::kCorrupt, "too large"},
      {"half a block", header(1, 0) + tensor("w", {33}, 8, 0), ErrorKind::kCorrupt, "whole blocks of 32"},
      {"blocks along the wrong axis", header(1, 0) + tensor("w", {2, 32}, 3, 0), ErrorKind::kCorrupt, "whole blocks of 32"},
      {"Q4_K", header(1, 0) + tensor("w", {256}, 12, 0), ErrorKind::kUnsupported, "Q4_K (type 12)"},
      {"unknown type", header(1, 0) + tensor("w", {256}, 999, 0), ErrorKind::kUnsupported, "the unknown type 999"},
      {"offset not aligned", padded(header(1, 0) + tensor("w", {4}, 0, 16)) + data, ErrorKind::kCorrupt, "not a multiple of 32"},
      {"offset past the end", padded(header(1, 0) + tensor("w", {4}, 0, 96)) + data, ErrorKind::kCorrupt, "cut short"},
      {"offset overflows", padded(header(1, 0) + tensor("w", {4}, 0, ~uint64_t{31})) + data, ErrorKind::kCorrupt, "cut short"},
      {"end past the end", padded(header(1, 0) + tensor("w", {16}, 0, 32)) + data, ErrorKind::kCorrupt, "cut short"},
      {"overlap", padded(header(2, 0) + tensor("v", {16}, 0, 0) + tensor("w", {4}, 0, 32)) + data, ErrorKind::kCorrupt,
       "overlap"},
      {"alignment 0", with_alignment(u32_pair("general.alignment", 0)), ErrorKind::kCorrupt, "power of two"},
      {"alignment 24", with_alignment(u32_pair("general.alignment", 24)), ErrorKind::kCorrupt, "power of two"},
      {"alignment 2^31", with_alignment(u32_pair("general.alignment", 1u << 31)), ErrorKind::kCorrupt, "cut short"},
      {"alignment as text", with_alignment(text("general.alignment") + le<uint32_t>(8) + text("32")), ErrorKind::kCorrupt,
       "holds string"},
      {"alignment 2^63", with_alignment(text("general.alignment") + le<uint32_t>(10) + le(kHuge), 0), ErrorKind::kCorrupt,
       "cut short"},
      {"one part of three", header(0, 1) + u32_pair("split.count", 3), ErrorKind::kUnsupported, "split into 3"},
      {"control characters in a name", header(1, 0) + tensor("a\nb", {256}, 12, 0), ErrorKind::kUnsupported, "a\\nb"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    expect_error(c.kind, c.message, [&] { read(c.file); });
  }
}

TEST(Gguf, truncation_at_every_byte_is_refused) {
  const TempFolder folder;
  const std::string data(68, 'd');
  const std::vector<std::pair<std::string, GgufValue>> pairs = {
      {"a", uint64_t{1}}, {"b", std::string("text")}, {"c", std::vector<std::string>{"x", "yz"}}};
  write_gguf(folder / "a.gguf", sample_tensors(data), pairs);
  const std::string file = read_file(folder / "a.gguf");
  const size_t end = file.find_last_of('d') + 1;  // what follows is padding, which readers do without
  EXPECT_NO_THROW(read(file.substr(0, end)));
  for (size_t n = 0; n < end; ++n) {
    SCOPED_TRACE(n);
    expect_error(ErrorKind::kCorrupt, "t.gguf", [&] { read(file.substr(0, n)); });
  }
}

TEST(Gguf, writer_refuses_what_it_cannot_store) {
  const TempFolder folder;
  const std::string data(16, 'd');
  const auto bytes = as_byte_span(data);
  const auto write = [&](std::vector<CheckpointTensor> tensors, uint32_t alignment = 32) {
    write_gguf(folder / "a.gguf", tensors, {}, alignment);
  };
  expect_error(ErrorKind::kInvalidArgument, "not its size", [&] { write({{"w", DType::kF32, {5}, bytes}}); });
  expect_error(ErrorKind::kInvalidArgument, "twice", [&] {
    write({{"w", DType::kF32, {4}, bytes}, {"w", DType::kF32, {4}, bytes}});
  });
  expect_error(ErrorKind::kUnsupported, "U64", [&] { write({{"w", DType::kU64, {2}, bytes}}); });
  expect_error(ErrorKind::kInvalidArgument, "power of two", [&] { write({}, 12); });
  EXPECT_FALSE(std::filesystem::exists(folder / "a.gguf"));
}

// Found where `microtome pull smollm2-135m` puts it.
TEST(Gguf, default_model_has_the_tensors_it_is_known_for) {
  const auto path = data_home() / "models" / "smollm2-135m" / "SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the default model is not there: microtome pull smollm2-135m";
  const Checkpoint c = open_checkpoint(path);
  std::map<std::string, int> counts;
  for (const CheckpointTensor& t : c.tensors()) ++counts[dtype_name(t.dtype)];
  EXPECT_EQ(counts, (std::map<std::string, int>{{"Q4_1", 210}, {"F32", 61}, {"Q8_0", 1}}));
  EXPECT_EQ(c.get("token_embd.weight").shape, (std::vector<int64_t>{49152, 576}));
  EXPECT_EQ(c.get("blk.29.ffn_down.weight").shape, (std::vector<int64_t>{576, 1536}));
  EXPECT_EQ(c.metadata().u64("llama.attention.head_count_kv"), 3u);
  EXPECT_EQ(c.metadata().string("tokenizer.ggml.pre"), "smollm");
  EXPECT_EQ(c.metadata().strings("tokenizer.ggml.tokens")->size(), 49152u);
  EXPECT_EQ(c.metadata().i32s("tokenizer.ggml.token_type")->size(), 49152u);
}

}  // namespace
}  // namespace microtome
