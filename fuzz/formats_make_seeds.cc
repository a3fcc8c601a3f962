// Writes small good files for the fuzzers to start from: formats_make_seeds fuzz/seeds
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "microtome/base/error.h"
#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/gguf.h"
#include "microtome/formats/npz.h"
#include "microtome/formats/safetensors.h"
#include "microtome/formats/torch_file.h"

using namespace microtome;
namespace fs = std::filesystem;

namespace {

fs::path in_folder(const fs::path& folder, const char* name) {
  fs::create_directories(folder);
  return folder / name;
}

void write_checkpoints(const fs::path& seeds, std::span<const std::byte> data) {
  const std::vector<CheckpointTensor> plain = {{"a.weight", DType::kF32, {2, 3}, data.first(24)},
                                               {"b", DType::kBF16, {4}, data.first(8)},
                                               {"c", DType::kI8, {}, data.first(1)}};
  const std::vector<std::pair<std::string, std::string>> texts = {{"format", "pt"}};
  write_safetensors(in_folder(seeds / "formats_safetensors", "plain"), plain, texts);
  write_safetensors(seeds / "formats_safetensors/empty", {});

  const std::vector<CheckpointTensor> blocks = {{"blk.0.attn_q.weight", DType::kQ4_1, {1, 32}, data.first(20)},
                                                {"q4_0", DType::kQ4_0, {32}, data.first(18)},
                                                {"q8_0", DType::kQ8_0, {1, 1, 32}, data.first(34)},
                                                {"norm", DType::kF32, {3}, data.first(12)}};
  const std::vector<std::pair<std::string, GgufValue>> pairs = {{"general.architecture", std::string("llama")},
                                                                {"llama.block_count", uint32_t{1}},
                                                                {"eps", 1e-5f},
                                                                {"bos", true},
                                                                {"big", uint64_t{1} << 40},
                                                                {"tokens", std::vector<std::string>{"a", "", "bc"}},
                                                                {"types", std::vector<int32_t>{1, -2}},
                                                                {"scores", std::vector<float>{0.5f}}};
  write_gguf(in_folder(seeds / "formats_gguf", "blocks"), blocks, pairs);
  write_gguf(seeds / "formats_gguf/narrow", blocks, {}, 1);
  write_gguf(seeds / "formats_gguf/empty", {});
}

void write_arrays(const fs::path& seeds, std::span<const std::byte> data) {
  write_npy(in_folder(seeds / "formats_npy", "floats"), DType::kF32, {2, 3}, data.first(24));
  write_npy(seeds / "formats_npy/scalar", DType::kI64, {}, data.first(8));
  std::ofstream(seeds / "formats_npy/fortran", std::ios::binary)
      << "\x93NUMPY" << '\1' << '\0' << '\x40' << '\0' << "{'descr': '<f2', 'fortran_order': True, 'shape': (2, 3), }      \n"
      << as_text(data.first(12));
  for (const char* folder : {"formats_npz", "formats_zip"}) {
    for (const bool deflate : {false, true}) {
      write_npz(in_folder(seeds / folder, deflate ? "deflated" : "stored"), {deflate}, [&](NpzWriter& npz) {
        npz.add("a", DType::kF32, {2, 3}, data.first(24));
        npz.add("b", DType::kU8, {5}, data.first(5));
      });
    }
  }
  std::ofstream wide(seeds / "formats_zip/wide", std::ios::binary);
  ZipWriter zip(wide, 0);
  zip.begin("a.txt", 34, true);
  zip.write(data.first(34));
  zip.end();
  zip.finish();
}

void write_lenses(const fs::path& seeds) {
  const auto text = [](const char* s) { return TorchValue(std::string(s)); };
  TorchValue::Dict layers, file;
  layers.emplace_back(int64_t{0}, TorchTensor::f16(std::vector<float>{1, 2, 3, 4}, {2, 2}));
  layers.emplace_back(int64_t{1}, TorchTensor::f32(std::vector<float>{1, 0, 0, 1}, {2, 2}));
  file.emplace_back(text("J"), layers);
  file.emplace_back(text("n_prompts"), int64_t{1} << 40);
  file.emplace_back(text("metadata"), TorchValue::List{TorchValue(), true, 0.5, text("x")});
  write_torch(in_folder(seeds / "formats_torch", "lens"), file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: formats_make_seeds FOLDER\n");
    return 2;
  }
  std::string data;
  for (int i = 0; i < 64; ++i) data += static_cast<char>(i * 11);
  try {
    write_checkpoints(argv[1], as_byte_span(data));
    write_arrays(argv[1], as_byte_span(data));
    write_lenses(argv[1]);
  } catch (const Error& e) {
    std::fprintf(stderr, "formats_make_seeds: error: %s\n", e.what());
    return e.exit_code();
  }
}
