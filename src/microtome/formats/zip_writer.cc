#include <zlib.h>

#include <unordered_set>

#include "microtome/base/error.h"
#include "microtome/formats/zip.h"
#include "microtome/formats/zip_format.h"

namespace microtome {
namespace {

// 1 January 1980: the same content gives the same bytes.
constexpr uint16_t kTime = 0, kDate = 1 << 5 | 1;
constexpr uint16_t kVersion = 20, kVersionZip64 = 45;

class Record {
 public:
  Record& u16(uint64_t value) { return put(static_cast<uint16_t>(value)); }
  Record& u32(uint64_t value) { return put(static_cast<uint32_t>(value)); }
  Record& u64(uint64_t value) { return put(value); }
  Record& raw(const std::string& bytes) {
    text_ += bytes;
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  template <class T>
  Record& put(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  std::string text_;
};

uint64_t capped(uint64_t value) { return value < zip::kMax32 ? value : zip::kMax32; }

}  // namespace

struct ZipWriter::State {
  struct Written {
    ZipEntry entry;
    bool zip64;
  };

  std::ostream& out;
  uint64_t zip64_above;
  bool seekable;
  std::streamoff start = 0;  // of the archive within the stream
  uint64_t position = 0;     // bytes written so far
  std::vector<Written> entries;
  std::unordered_set<std::string> names;
  bool open = false;
  uint64_t taken = 0;  // of the open entry, before packing
  z_stream stream{};
  bool deflating = false;
  std::vector<char> buffer = std::vector<char>(1 << 16);

  State(std::ostream& o, uint64_t above) : out(o), zip64_above(above) {
    const auto at = out.tellp();
    seekable = at != std::ostream::pos_type(-1);
    if (seekable) start = at;
  }
  ~State() {
    if (deflating) ::deflateEnd(&stream);
  }

  void put(const char* data, size_t size) {
    out.write(data, static_cast<std::streamsize>(size));
    if (!out) throw Error(ErrorKind::kIo, "the archive cannot be written; disk full?");
    position += size;
  }
  void put(const std::string& text) { put(text.data(), text.size()); }

  // Sizes and CRC are zero before the data is known.
  std::string local_header(const Written& w) const {
    const ZipEntry& e = w.entry;
    Record extra;
    if (w.zip64) extra.u16(zip::kZip64Extra).u16(16).u64(e.size).u64(e.packed_size);
    Record header;
    header.u32(zip::kLocalSignature)
        .u16(w.zip64 ? kVersionZip64 : kVersion)
        .u16(e.flags)
        .u16(e.method)
        .u16(kTime)
        .u16(kDate)
        .u32(e.crc);
    header.u32(w.zip64 ? zip::kMax32 : e.packed_size).u32(w.zip64 ? zip::kMax32 : e.size);
    header.u16(e.name.size()).u16(extra.text().size()).raw(e.name).raw(extra.text());
    return header.text();
  }

  std::string directory_entry(const Written& w) const {
    const ZipEntry& e = w.entry;
    Record fields;
    if (w.zip64) fields.u64(e.size).u64(e.packed_size);
    if (e.offset >= zip::kMax32) fields.u64(e.offset);
    Record extra;
    if (!fields.text().empty()) extra.u16(zip::kZip64Extra).u16(fields.text().size()).raw(fields.text());
    Record entry;
    const uint16_t version = fields.text().empty() ? kVersion : kVersionZip64;
    entry.u32(zip::kEntrySignature).u16(version).u16(version).u16(e.flags).u16(e.method).u16(kTime).u16(kDate).u32(e.crc);
    entry.u32(w.zip64 ? zip::kMax32 : e.packed_size).u32(w.zip64 ? zip::kMax32 : e.size);
    entry.u16(e.name.size())
        .u16(extra.text().size())
        .u16(0)
        .u16(0)
        .u16(0)
        .u32(0)
        .u32(capped(e.offset))
        .raw(e.name)
        .raw(extra.text());
    return entry.text();
  }

  void pack(const Bytef* data, size_t size, int flush) {
    ZipEntry& entry = entries.back().entry;
    stream.next_in = const_cast<Bytef*>(data);
    stream.avail_in = static_cast<uInt>(size);
    do {
      stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
      stream.avail_out = static_cast<uInt>(buffer.size());
      ::deflate(&stream, flush);
      const size_t packed = buffer.size() - stream.avail_out;
      put(buffer.data(), packed);
      entry.packed_size += packed;
    } while (stream.avail_out == 0);
  }

  // Sizes and CRC go into the header that was written before the data, or behind the data.
  void complete_header(const Written& w) {
    if (seekable) {
      const std::string header = local_header(w);
      out.seekp(start + static_cast<std::streamoff>(w.entry.offset));
      out.write(header.data(), static_cast<std::streamsize>(header.size()));
      out.seekp(start + static_cast<std::streamoff>(position));
      if (!out) throw Error(ErrorKind::kIo, "the archive cannot be written; disk full?");
      return;
    }
    Record descriptor;
    descriptor.u32(zip::kDescriptorSignature).u32(w.entry.crc);
    if (w.zip64) descriptor.u64(w.entry.packed_size).u64(w.entry.size);
    else descriptor.u32(w.entry.packed_size).u32(w.entry.size);
    put(descriptor.text());
  }
};

ZipWriter::ZipWriter(std::ostream& out, uint64_t zip64_above) : state_(std::make_unique<State>(out, zip64_above)) {}
ZipWriter::~ZipWriter() = default;

void ZipWriter::begin(const std::string& name, uint64_t size, bool deflate) {
  State& s = *state_;
  MT_CHECK(!s.open);
  if (name.empty() || name.size() > 0xffff || !s.names.insert(name).second) {
    throw Error(ErrorKind::kInvalidArgument,
                "\"{}\" cannot be an entry of the archive: empty, over 65535 bytes, or there already", printable(name));
  }
  State::Written written{{}, size > s.zip64_above};
  written.entry.name = name;
  written.entry.method = deflate ? zip::kDeflated : zip::kStored;
  written.entry.flags = zip::kUtf8Name | (s.seekable ? 0 : zip::kSizesFollow);
  written.entry.offset = s.position;
  s.put(s.local_header(written));
  written.entry.size = size;
  s.entries.push_back(std::move(written));
  if (deflate) {
    s.stream = {};
    if (::deflateInit2(&s.stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
      throw Error(ErrorKind::kIo, "zlib cannot start: out of memory?");
    }
    s.deflating = true;
  }
  s.taken = 0;
  s.open = true;
}

void ZipWriter::write(std::span<const std::byte> bytes) {
  State& s = *state_;
  MT_CHECK(s.open);
  ZipEntry& entry = s.entries.back().entry;
  if (bytes.size() > entry.size - s.taken) {
    throw Error(ErrorKind::kInvalidArgument, "\"{}\" gets more than the announced {} bytes", printable(entry.name), entry.size);
  }
  if (bytes.empty()) return;  // zlib takes a null pointer for the request of a new CRC
  s.taken += bytes.size();
  entry.crc = static_cast<uint32_t>(::crc32_z(entry.crc, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
  if (!s.deflating) {
    s.put(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    entry.packed_size += bytes.size();
    return;
  }
  constexpr size_t kPiece = 1 << 30;  // zlib counts in 32 bits
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    s.pack(reinterpret_cast<const Bytef*>(bytes.data()) + at, std::min(kPiece, bytes.size() - at), Z_NO_FLUSH);
  }
}

void ZipWriter::end() {
  State& s = *state_;
  MT_CHECK(s.open);
  const State::Written& written = s.entries.back();
  if (s.taken != written.entry.size) {
    throw Error(ErrorKind::kInvalidArgument, "\"{}\" got {} of the announced {} bytes", printable(written.entry.name), s.taken,
                written.entry.size);
  }
  if (s.deflating) {
    s.pack(nullptr, 0, Z_FINISH);
    ::deflateEnd(&s.stream);
    s.deflating = false;
  }
  s.complete_header(written);
  s.open = false;
}

void ZipWriter::finish() {
  State& s = *state_;
  MT_CHECK(!s.open);
  const uint64_t begin = s.position, count = s.entries.size();
  for (const State::Written& written : s.entries) s.put(s.directory_entry(written));
  const uint64_t end = s.position, size = end - begin;
  Record record;
  if (count >= 0xffff || begin >= zip::kMax32 || size >= zip::kMax32 || s.zip64_above == 0) {
    record.u32(zip::kEnd64Signature).u64(44).u16(kVersionZip64).u16(kVersionZip64).u32(0).u32(0);
    record.u64(count).u64(count).u64(size).u64(begin);
    record.u32(zip::kLocatorSignature).u32(0).u64(end).u32(1);
  }
  const uint64_t shown = std::min<uint64_t>(count, 0xffff);
  record.u32(zip::kEndSignature).u16(0).u16(0).u16(shown).u16(shown).u32(capped(size)).u32(capped(begin)).u16(0);
  s.put(record.text());
}

}  // namespace microtome
