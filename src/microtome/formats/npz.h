// NumPy's .npz: named arrays in a zip archive; numpy.load reads what is written here, and the other way round.
//
//   write_npz("trace.npz", {}, [&](NpzWriter& npz) {
//     npz.add("tokens", DType::kI32, {1, 7}, tokens_bytes);
//     npz.begin("blocks.0.hook_resid_post", DType::kF32, {1, 7, 576});   // in pieces, row after row
//     for (…) npz.write(row_bytes);
//     npz.end();
//   });
//
//   const NpzReader npz("trace.npz");
//   const NpyArray tokens = npz.read("tokens");
//
// Any number of threads may read one NpzReader; an NpzWriter belongs to one thread.
#pragma once

#include <functional>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "microtome/formats/npy.h"
#include "microtome/formats/zip.h"

namespace microtome {

struct NpzOptions {
  bool deflate = false;  // several times slower, seldom much smaller: activations hardly compress
};

class NpzWriter {
 public:
  explicit NpzWriter(std::ostream& out, NpzOptions options = {}) : zip_(out), options_(options) {}

  // A whole array, dense and row-major. Throws kInvalidArgument (a name twice, not the shape's size), kUnsupported (a dtype
  // that NumPy lacks), kIo.
  void add(const std::string& name, DType dtype, const std::vector<int64_t>& shape, std::span<const std::byte> data);

  // The same in any number of pieces; end() throws kInvalidArgument if they are not the whole array.
  void begin(const std::string& name, DType dtype, const std::vector<int64_t>& shape);
  void write(std::span<const std::byte> bytes) { zip_.write(bytes); }
  void end() { zip_.end(); }

  // Nothing may follow.
  void finish() { zip_.finish(); }

 private:
  ZipWriter zip_;
  NpzOptions options_;
};

// Atomically: `path` holds all that `fill` added, or what it held before.
void write_npz(const std::filesystem::path& path, NpzOptions options, const std::function<void(NpzWriter&)>& fill);

class NpzReader {
 public:
  // Throws kNotFound, kIo, kCorrupt, kUnsupported.
  explicit NpzReader(const std::filesystem::path& path) : zip_(path) {}
  NpzReader(std::span<const std::byte> bytes, std::string where) : zip_(bytes, std::move(where)) {}

  // In the file's order, without ".npy". Other entries are not named.
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }

  // Throws kNotFound (with the names there are), kCorrupt, kUnsupported, kInvalidArgument (over `limit` bytes unpacked).
  NpyArray read(std::string_view name, uint64_t limit = uint64_t{1} << 40) const;

 private:
  const ZipEntry* find(std::string_view name) const;
  ZipReader zip_;
};

// All arrays at once.
std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path);

}  // namespace microtome
