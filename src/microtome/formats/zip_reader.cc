#include <zlib.h>

#include <algorithm>
#include <optional>

#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/zip.h"
#include "microtome/formats/zip_format.h"

namespace microtome {
namespace {

// Deflate cannot pack better than 1032 to 1.
constexpr uint64_t kMaxRatio = 1032, kRatioSlack = 1 << 12;
constexpr size_t kPieceBytes = 1 << 18;

// Where the end record begins; the archive may carry a comment behind it.
std::optional<size_t> find_end_record(std::span<const std::byte> bytes) {
  if (bytes.size() < zip::kEndBytes) return {};
  const size_t last = bytes.size() - zip::kEndBytes;
  const size_t first = last > 0xffff ? last - 0xffff : 0;
  for (size_t at = last + 1; at-- > first;) {
    if (load_little_endian<uint32_t>(&bytes[at]) != zip::kEndSignature) continue;
    if (load_little_endian<uint16_t>(&bytes[at + 20]) <= last - at) return at;
  }
  return {};
}

struct Directory {
  uint64_t entries = 0, size = 0, offset = 0;
};

Directory read_zip64_end(std::span<const std::byte> bytes, size_t locator_at, const std::string& where) {
  ByteCursor locator(bytes.subspan(locator_at + 8), where);
  const uint64_t at = locator.number<uint64_t>("the zip64 end record's offset");
  if (at > bytes.size()) throw Error(ErrorKind::kCorrupt, "{}: the zip64 end record lies at byte {}, past the end", where, at);
  ByteCursor in(bytes.subspan(at), where);
  if (in.number<uint32_t>("the zip64 end record") != zip::kEnd64Signature) {
    throw Error(ErrorKind::kCorrupt, "{}: no zip64 end record at byte {}", where, at);
  }
  in.bytes(8 + 2 + 2, "the zip64 end record");
  const uint32_t disk = in.number<uint32_t>("the zip64 end record"), directory_disk = in.number<uint32_t>("the zip64 end record");
  const uint64_t here = in.number<uint64_t>("the zip64 end record");
  Directory directory;
  directory.entries = in.number<uint64_t>("the zip64 end record");
  directory.size = in.number<uint64_t>("the zip64 end record");
  directory.offset = in.number<uint64_t>("the zip64 end record");
  if (disk != 0 || directory_disk != 0 || here != directory.entries) {
    throw Error(ErrorKind::kUnsupported, "{}: a zip archive in several parts", where);
  }
  return directory;
}

Directory read_end(std::span<const std::byte> bytes, const std::string& where) {
  const auto at = find_end_record(bytes);
  if (!at) throw Error(ErrorKind::kCorrupt, "{}: no zip archive, or one that is cut short: it lacks the end record", where);
  constexpr size_t kLocatorBytes = 20;
  if (*at >= kLocatorBytes && load_little_endian<uint32_t>(&bytes[*at - kLocatorBytes]) == zip::kLocatorSignature) {
    return read_zip64_end(bytes, *at - kLocatorBytes, where);
  }
  ByteCursor in(bytes.subspan(*at + 4), where);
  const uint16_t disk = in.number<uint16_t>("the end record"), directory_disk = in.number<uint16_t>("the end record");
  const uint16_t here = in.number<uint16_t>("the end record");
  Directory directory;
  directory.entries = in.number<uint16_t>("the end record");
  directory.size = in.number<uint32_t>("the end record");
  directory.offset = in.number<uint32_t>("the end record");
  if (disk != 0 || directory_disk != 0 || here != directory.entries) {
    throw Error(ErrorKind::kUnsupported, "{}: a zip archive in several parts", where);
  }
  return directory;
}

// The fields that did not fit into 32 bits, in the order the format gives them.
void read_zip64_extra(ZipEntry& entry, std::span<const std::byte> extra, const std::string& where) {
  ByteCursor in(extra, where);
  while (in.remaining() >= 4) {
    const uint16_t id = in.number<uint16_t>("an extra field"), length = in.number<uint16_t>("an extra field");
    ByteCursor field(in.bytes(length, "an extra field"), where);
    if (id != zip::kZip64Extra) continue;
    for (uint64_t* value : {&entry.size, &entry.packed_size, &entry.offset}) {
      if (*value == zip::kMax32) *value = field.number<uint64_t>("a zip64 field");
    }
    return;
  }
}

ZipEntry read_entry(ByteCursor& in) {
  if (in.number<uint32_t>("a directory entry") != zip::kEntrySignature) {
    throw Error(ErrorKind::kCorrupt, "{}: no directory entry where one is expected, {} bytes into the directory", in.where(),
                in.position() - 4);
  }
  ZipEntry entry;
  in.bytes(4, "a directory entry");  // versions
  entry.flags = in.number<uint16_t>("a directory entry");
  entry.method = in.number<uint16_t>("a directory entry");
  in.bytes(4, "a directory entry");  // time and date
  entry.crc = in.number<uint32_t>("a directory entry");
  entry.packed_size = in.number<uint32_t>("a directory entry");
  entry.size = in.number<uint32_t>("a directory entry");
  const uint16_t name_length = in.number<uint16_t>("a directory entry"), extra_length = in.number<uint16_t>("a directory entry");
  const uint16_t comment_length = in.number<uint16_t>("a directory entry");
  in.bytes(2 + 2 + 4, "a directory entry");  // disk and attributes
  entry.offset = in.number<uint32_t>("a directory entry");
  entry.name = as_text(in.bytes(name_length, "an entry's name"));
  read_zip64_extra(entry, in.bytes(extra_length, "an entry's extra fields"), in.where());
  in.bytes(comment_length, "an entry's comment");
  return entry;
}

const char* method_name(uint16_t method) {
  switch (method) {
    case 9: return "Deflate64";
    case 12: return "bzip2";
    case 14: return "LZMA";
    case 93: return "Zstandard";
    case 95: return "xz";
    default: return "an unknown method";
  }
}

// Counts and checks what comes out of an entry on its way to the sink.
class CheckedOutput {
 public:
  CheckedOutput(const ZipEntry& entry, const std::string& where, const ZipReader::Sink& sink, Progress* progress)
      : entry_(entry), where_(where), sink_(sink), progress_(progress) {
    if (progress_ != nullptr) progress_->begin("unpack", static_cast<double>(entry.size));
  }

  void put(std::span<const std::byte> piece) {
    if (piece.size() > entry_.size - done_) fail("unpacks to more than the announced size");
    done_ += piece.size();
    crc_ = ::crc32_z(crc_, reinterpret_cast<const Bytef*>(piece.data()), piece.size());
    sink_(piece);
    if (progress_ != nullptr) progress_->step(static_cast<double>(piece.size()));
  }

  void finish() {
    if (done_ != entry_.size) fail("unpacks to less than the announced size");
    if (crc_ != entry_.crc) fail("has another checksum than announced");
    if (progress_ != nullptr) progress_->end();
  }

  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" {} ({} bytes); the file is damaged", where_, printable(entry_.name), what,
                entry_.size);
  }

 private:
  const ZipEntry& entry_;
  const std::string& where_;
  const ZipReader::Sink& sink_;
  Progress* progress_;
  uint64_t done_ = 0;
  uLong crc_ = 0;
};

class Inflater {
 public:
  Inflater() {
    if (::inflateInit2(&stream_, -MAX_WBITS) != Z_OK) throw Error(ErrorKind::kIo, "zlib cannot start: out of memory?");
  }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;

  void run(std::span<const std::byte> packed, CheckedOutput& output) {
    std::vector<std::byte> buffer(kPieceBytes);
    size_t taken = 0;
    int status = Z_OK;
    while (status != Z_STREAM_END) {
      const size_t piece = std::min(packed.size() - taken, kPieceBytes);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data() + taken));
      stream_.avail_in = static_cast<uInt>(piece);
      stream_.next_out = reinterpret_cast<Bytef*>(buffer.data());
      stream_.avail_out = static_cast<uInt>(buffer.size());
      status = ::inflate(&stream_, Z_NO_FLUSH);
      if (status != Z_OK && status != Z_STREAM_END) output.fail("cannot be unpacked");
      taken += piece - stream_.avail_in;
      const size_t unpacked = buffer.size() - stream_.avail_out;
      if (unpacked > 0) output.put(std::span(buffer).first(unpacked));
    }
    if (taken != packed.size()) output.fail("has bytes behind its data");
  }

 private:
  z_stream stream_{};
};

}  // namespace

ZipReader::ZipReader(const std::filesystem::path& path)
    : file_(path), bytes_(file_.bytes()), where_(printable(path.string(), 200)) {
  read_directory();
}

ZipReader::ZipReader(std::span<const std::byte> bytes, std::string where) : bytes_(bytes), where_(std::move(where)) {
  read_directory();
}

void ZipReader::read_directory() {
  const Directory directory = read_end(bytes_, where_);
  if (directory.offset > bytes_.size() || directory.size > bytes_.size() - directory.offset ||
      directory.entries > directory.size / zip::kEntryBytes) {
    throw Error(ErrorKind::kCorrupt, "{}: a directory of {} entries in {} bytes at byte {}, the file has {}; it may be cut short",
                where_, directory.entries, directory.size, directory.offset, bytes_.size());
  }
  ByteCursor in(bytes_.subspan(directory.offset, directory.size), where_);
  entries_.reserve(directory.entries);
  std::vector<std::pair<uint64_t, uint64_t>> extents;
  for (uint64_t i = 0; i < directory.entries; ++i) {
    const ZipEntry& entry = entries_.emplace_back(read_entry(in));
    if (!index_.emplace(entry.name, i).second) {
      throw Error(ErrorKind::kCorrupt, "{}: \"{}\" appears twice", where_, printable(entry.name));
    }
    if (entry.offset > directory.offset || entry.packed_size > directory.offset - entry.offset) {
      throw Error(ErrorKind::kCorrupt, "{}: \"{}\" takes {} bytes at byte {}, past the start of the directory", where_,
                  printable(entry.name), entry.packed_size, entry.offset);
    }
    extents.emplace_back(entry.offset, entry.packed_size);
  }
  std::sort(extents.begin(), extents.end());
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].first - extents[i - 1].first < extents[i - 1].second + zip::kLocalBytes) {
      throw Error(ErrorKind::kCorrupt, "{}: the entries at bytes {} and {} overlap", where_, extents[i - 1].first,
                  extents[i].first);
    }
  }
}

const ZipEntry* ZipReader::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

const ZipEntry& ZipReader::get(std::string_view name) const {
  if (const ZipEntry* entry = find(name)) return *entry;
  throw Error(ErrorKind::kNotFound, "{}: the archive holds no \"{}\"", where_, printable(name));
}

std::span<const std::byte> ZipReader::packed_bytes(const ZipEntry& entry) const {
  ByteCursor in(bytes_.subspan(entry.offset), where_);
  if (in.number<uint32_t>("a local header") != zip::kLocalSignature) {
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" has no local header at byte {}", where_, printable(entry.name), entry.offset);
  }
  in.bytes(22, "a local header");  // what the directory says too, and is believed
  const uint16_t name_length = in.number<uint16_t>("a local header"), extra_length = in.number<uint16_t>("a local header");
  if (as_text(in.bytes(name_length, "a local header's name")) != entry.name) {
    throw Error(ErrorKind::kCorrupt, "{}: \"{}\" has another name in its local header", where_, printable(entry.name));
  }
  in.bytes(extra_length, "a local header's extra fields");
  return in.bytes(entry.packed_size, "an entry's data");
}

void ZipReader::extract(const ZipEntry& entry, const Sink& sink, Progress* progress) const {
  constexpr uint16_t kEncrypted = 1;
  if (entry.flags & kEncrypted) throw Error(ErrorKind::kUnsupported, "{}: \"{}\" is encrypted", where_, printable(entry.name));
  if (entry.method != zip::kStored && entry.method != zip::kDeflated) {
    throw Error(ErrorKind::kUnsupported, "{}: \"{}\" is packed with {} (method {}), microtome reads stored and deflated entries",
                where_, printable(entry.name), method_name(entry.method), entry.method);
  }
  const auto packed = packed_bytes(entry);
  CheckedOutput output(entry, where_, sink, progress);
  if (entry.method == zip::kDeflated) {
    if (entry.size > kRatioSlack && (entry.size - kRatioSlack) / kMaxRatio > packed.size())
      output.fail("is too short for the announced size");
    Inflater().run(packed, output);
  } else {
    if (packed.size() != entry.size) output.fail("is stored in another number of bytes than announced");
    for (size_t at = 0; at < packed.size(); at += kPieceBytes)
      output.put(packed.subspan(at, std::min(kPieceBytes, packed.size() - at)));
  }
  output.finish();
}

void ZipReader::extract(const ZipEntry& entry, std::ostream& out, Progress* progress) const {
  extract(
      entry,
      [&](std::span<const std::byte> piece) {
        out.write(reinterpret_cast<const char*>(piece.data()), static_cast<std::streamsize>(piece.size()));
        if (!out)
          throw Error(ErrorKind::kIo, "{}: \"{}\" cannot be unpacked: writing fails; disk full?", where_, printable(entry.name));
      },
      progress);
}

std::vector<std::byte> ZipReader::read(const ZipEntry& entry, uint64_t limit) const {
  if (entry.size > limit) {
    throw Error(ErrorKind::kInvalidArgument, "{}: \"{}\" unpacks to {} bytes, the limit is {}", where_, printable(entry.name),
                entry.size, limit);
  }
  std::vector<std::byte> content;
  extract(entry, [&](std::span<const std::byte> piece) {
    if (content.empty()) content.reserve(entry.size);
    content.insert(content.end(), piece.begin(), piece.end());
  });
  return content;
}

}  // namespace microtome
