#include "microtome/formats/npz.h"

#include "microtome/base/file.h"
#include "microtome/formats/byte_cursor.h"

namespace microtome {
namespace {
constexpr std::string_view kSuffix = ".npy";
}

void NpzWriter::begin(const std::string& name, DType dtype, const std::vector<int64_t>& shape) {
  const std::string header = npy_header(dtype, shape);
  const auto bytes = tensor_bytes(dtype, shape);
  if (!bytes) throw Error(ErrorKind::kInvalidArgument, "array \"{}\": shape {} is too large", printable(name), shape_text(shape));
  zip_.begin(name + std::string(kSuffix), header.size() + *bytes, options_.deflate);
  zip_.write(as_byte_span(header));
}

void NpzWriter::add(const std::string& name, DType dtype, const std::vector<int64_t>& shape, std::span<const std::byte> data) {
  begin(name, dtype, shape);
  write(data);
  end();
}

void write_npz(const std::filesystem::path& path, NpzOptions options, const std::function<void(NpzWriter&)>& fill) {
  write_atomically(path, [&](std::ostream& out) {
    NpzWriter writer(out, options);
    fill(writer);
    writer.finish();
  });
}

std::vector<std::string> NpzReader::names() const {
  std::vector<std::string> names;
  for (const ZipEntry& entry : zip_.entries()) {
    if (entry.name.ends_with(kSuffix)) names.push_back(entry.name.substr(0, entry.name.size() - kSuffix.size()));
  }
  return names;
}

const ZipEntry* NpzReader::find(std::string_view name) const { return zip_.find(std::string(name) + std::string(kSuffix)); }

NpyArray NpzReader::read(std::string_view name, uint64_t limit) const {
  const ZipEntry* entry = find(name);
  if (entry == nullptr) {
    std::string known;
    for (const std::string& other : names()) known += (known.empty() ? "" : ", ") + other;
    throw Error(ErrorKind::kNotFound, "{}: holds no array \"{}\"; it holds: {}", zip_.where(), printable(name),
                known.empty() ? "none" : printable(known, 400));
  }
  return parse_npy(zip_.read(*entry, limit), fmt::format("{}: {}", zip_.where(), printable(name)));
}

std::map<std::string, NpyArray> read_npz(const std::filesystem::path& path) {
  const NpzReader reader(path);
  std::map<std::string, NpyArray> arrays;
  for (const std::string& name : reader.names()) arrays.emplace(name, reader.read(name));
  return arrays;
}

}  // namespace microtome
