#include "microtome/formats/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "malformed.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/gguf.h"
#include "microtome/formats/safetensors.h"
#include "temp_folder.h"

namespace microtome {
namespace {

constexpr char kConfig[] = R"({"model_type": "llama", "num_hidden_layers": 2})";

void write_one(const std::filesystem::path& path, std::vector<std::string> names, const std::string& data = "abcd") {
  std::vector<CheckpointTensor> tensors;
  for (const auto& name : names) tensors.push_back({name, DType::kF32, {1}, as_byte_span(data)});
  const std::vector<std::pair<std::string, std::string>> metadata = {{"format", "pt"}};
  write_safetensors(path, tensors, metadata);
}

TEST(Checkpoint, a_folder_with_one_file_is_opened) {
  const TempFolder folder;
  folder.write("config.json", kConfig);
  write_one(folder / "model.safetensors", {"a.weight", "b.weight"});
  write_one(folder / "other.safetensors", {"a.weight"});  // not the model's
  const Checkpoint c = open_checkpoint(folder.path());
  EXPECT_EQ(c.format(), CheckpointFormat::kSafetensors);
  EXPECT_EQ(c.path(), folder.path());
  EXPECT_EQ(c.config()["num_hidden_layers"], 2);
  EXPECT_EQ(c.metadata().string("format"), "pt");
  EXPECT_EQ(c.tensors().size(), 2u);
  EXPECT_EQ(c.find("c.weight"), nullptr);
  EXPECT_EQ(as_text(c.get("b.weight").data), "abcd");
  expect_error(ErrorKind::kNotFound, "no tensor \"b.wieght\"; the nearest is \"b.weight\"", [&] { c.get("b.wieght"); });
}

TEST(Checkpoint, released_tensors_read_the_same_again) {
  const TempFolder folder;
  std::string data(1 << 16, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 31 + i / 256);
  write_gguf(folder / "m.gguf", std::vector<CheckpointTensor>{{"w", DType::kI8, {1 << 16}, as_byte_span(data)}});
  const Checkpoint c = open_checkpoint(folder / "m.gguf");
  EXPECT_EQ(as_text(c.get("w").data), data);
  c.release(c.get("w"));
  EXPECT_EQ(as_text(c.get("w").data), data);
  EXPECT_TRUE(c.config().is_object() && c.config().empty());
}

TEST(Checkpoint, named_pipes_are_refused_at_once) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "m.gguf").c_str(), 0600), 0);
  ASSERT_EQ(mkfifo((folder / "config.json").c_str(), 0600), 0);
  expect_error(ErrorKind::kInvalidArgument, "m.gguf: not a regular file", [&] { open_checkpoint(folder / "m.gguf"); });
  expect_error(ErrorKind::kInvalidArgument, "config.json: not a regular file", [&] { open_checkpoint(folder.path()); });
}

TEST(Checkpoint, copies_keep_the_files_mapped) {
  const TempFolder folder;
  write_one(folder / "m.safetensors", {"a"});
  std::span<const std::byte> data;
  std::optional<Checkpoint> kept;
  {
    const Checkpoint c = open_checkpoint(folder / "m.safetensors");
    data = c.get("a").data;
    kept = c;
  }
  EXPECT_EQ(as_text(data), "abcd");
  EXPECT_EQ(kept->find("a")->data.data(), data.data());
}

TEST(Checkpoint, shards_are_opened_by_their_index) {
  const TempFolder folder;
  folder.write("config.json", kConfig);
  write_one(folder / "x-1.safetensors", {"a", "b"}, "1111");
  write_one(folder / "x-2.safetensors", {"c"}, "2222");
  write_one(folder / "unrelated.safetensors", {"z"});
  const auto index = [&](const char* map) { folder.write("model.safetensors.index.json", map); };
  index(
      R"({"metadata": {"total_size": 12}, "weight_map": {"a": "x-1.safetensors", "b": "x-1.safetensors", "c": "x-2.safetensors"}})");
  const Checkpoint c = open_checkpoint(folder.path());
  EXPECT_EQ(c.tensors().size(), 3u);
  EXPECT_EQ(as_text(c.get("a").data), "1111");
  EXPECT_EQ(as_text(c.get("c").data), "2222");
  c.release(c.get("c"));

  const auto open = [&] { open_checkpoint(folder.path()); };
  index(R"({"weight_map": {"a": "x-3.safetensors"}})");
  expect_error(ErrorKind::kNotFound, "x-3.safetensors: missing", open);
  index(R"({"weight_map": {"d": "x-1.safetensors"}})");
  expect_error(ErrorKind::kCorrupt, "names a tensor \"d\"", open);
  for (const char* name : {"../x-1.safetensors", "/etc/passwd", "", "..", ".hidden", "a\\\\b", "x-1.safetensors\\u0000"}) {
    SCOPED_TRACE(name);
    index((std::string(R"({"weight_map": {"a": ")") + name + "\"}}").c_str());
    expect_error(ErrorKind::kCorrupt, "expected the name of a file in this folder", open);
  }
  index(R"({"weight_map": {"a": 5}})");
  expect_error(ErrorKind::kCorrupt, "expected the name of a file", open);
  index(R"({"weight_map": []})");
  expect_error(ErrorKind::kCorrupt, "weight_map", open);
  index(R"([])");
  expect_error(ErrorKind::kCorrupt, "weight_map", open);
  index(R"({)");
  expect_error(ErrorKind::kCorrupt, "not JSON", open);
}

TEST(Checkpoint, a_tensor_in_two_files_is_refused) {
  const TempFolder folder;
  folder.write("config.json", kConfig);
  write_one(folder / "p.safetensors", {"a"});
  write_one(folder / "q.safetensors", {"b"});
  EXPECT_EQ(open_checkpoint(folder.path()).tensors().size(), 2u);
  write_one(folder / "q.safetensors", {"a"});
  expect_error(ErrorKind::kCorrupt, "tensor \"a\" is in two of the files", [&] { open_checkpoint(folder.path()); });
}

TEST(Checkpoint, what_is_not_a_model_is_refused_with_one_line) {
  const TempFolder folder;
  const auto open = [&](const std::filesystem::path& path) { open_checkpoint(path); };
  expect_error(ErrorKind::kNotFound, "no such file or folder", [&] { open(folder / "absent\n.gguf"); });
  expect_error(ErrorKind::kNotFound, "without config.json", [&] { open(folder.path()); });
  folder.write("config.json", kConfig);
  expect_error(ErrorKind::kNotFound, "no *.safetensors", [&] { open(folder.path()); });
  folder.write("pytorch_model.bin", "");
  expect_error(ErrorKind::kNotFound, "converted to safetensors", [&] { open(folder.path()); });
  folder.write("config.json", "[1]");
  expect_error(ErrorKind::kCorrupt, "expected a JSON object", [&] { open(folder.path()); });
  folder.write("config.json", std::string(100000, '['));
  expect_error(ErrorKind::kCorrupt, "nested deeper", [&] { open(folder.path()); });
  expect_error(ErrorKind::kInvalidArgument, "neither a .gguf nor a .safetensors file",
               [&] { open(folder.write("a.txt", "hello")); });
  expect_error(ErrorKind::kCorrupt, "not a GGUF file", [&] { open(folder.write("a.gguf", "hello")); });
  expect_error(ErrorKind::kCorrupt, "cut short", [&] { open(folder.write("empty.gguf", "")); });
  expect_error(ErrorKind::kInvalidArgument, "not a regular file", [&] { open("/dev/null"); });
}

TEST(Checkpoint, a_gguf_file_is_known_by_its_content) {
  const TempFolder folder;
  write_gguf(folder / "model.bin", {});
  EXPECT_EQ(open_checkpoint(folder / "model.bin").format(), CheckpointFormat::kGguf);
}

}  // namespace
}  // namespace microtome
