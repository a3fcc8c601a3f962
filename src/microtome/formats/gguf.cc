#include "microtome/formats/gguf.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <unordered_set>

#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/ggml_types.h"

namespace microtome {
namespace {

using Type = Metadata::Type;

constexpr uint64_t kMaxNameBytes = 64, kMaxDimensions = 4, kMaxArrayDepth = 8;
constexpr uint64_t kMinPairBytes = 8 + 4 + 1, kMinTensorBytes = 8 + 4 + 4 + 8;

// What a count of things, each of at least `least` bytes, cannot be if the rest of the file holds them.
void check_count(const ByteCursor& in, uint64_t count, uint64_t least, std::string_view what) {
  if (count > in.remaining() / least) {
    throw Error(ErrorKind::kCorrupt, "{}: {} {} announced at byte {}, the {} bytes left cannot hold them; the file is damaged",
                in.where(), count, what, in.position(), in.remaining());
  }
}

std::string_view read_string(ByteCursor& in, std::string_view what) {
  const uint64_t length = in.number<uint64_t>(what);
  return as_text(in.bytes(length, what));
}

Type read_type(ByteCursor& in, std::string_view key) {
  const uint32_t type = in.number<uint32_t>("a value's type");
  if (type >= Metadata::kTypes) {
    throw Error(ErrorKind::kCorrupt, "{}: key \"{}\" has a value of type {}, known are 0 to {}", in.where(), printable(key), type,
                Metadata::kTypes - 1);
  }
  return static_cast<Type>(type);
}

void skip_array(ByteCursor& in, Type element, uint64_t count, std::string_view key, uint64_t depth) {
  const size_t size = fixed_size(element);
  if (size > 0) {
    check_count(in, count, size, "array elements");
    in.bytes(count * size, "an array");
    return;
  }
  check_count(in, count, element == Type::kString ? 8 : 12, "array elements");
  for (uint64_t i = 0; i < count; ++i) {
    if (element == Type::kString) {
      read_string(in, "a string of an array");
      continue;
    }
    if (depth >= kMaxArrayDepth) {
      throw Error(ErrorKind::kCorrupt, "{}: key \"{}\": arrays nested deeper than {}", in.where(), printable(key),
                  kMaxArrayDepth);
    }
    const Type inner = read_type(in, key);
    skip_array(in, inner, in.number<uint64_t>("an array's length"), key, depth + 1);
  }
}

Metadata::Entry read_pair(ByteCursor& in, std::span<const std::byte> file) {
  Metadata::Entry entry{};
  entry.key = read_string(in, "a key");
  entry.type = read_type(in, entry.key);
  if (entry.type == Type::kString) {
    entry.bytes = as_byte_span(read_string(in, "a string"));
  } else if (entry.type == Type::kArray) {
    entry.element = read_type(in, entry.key);
    entry.count = in.number<uint64_t>("an array's length");
    const size_t begin = in.position();
    skip_array(in, entry.element, entry.count, entry.key, 1);
    entry.bytes = file.subspan(begin, in.position() - begin);
  } else {
    entry.bytes = in.bytes(fixed_size(entry.type), "a value");
  }
  return entry;
}

Metadata read_metadata(ByteCursor& in, std::span<const std::byte> file, uint64_t pairs) {
  check_count(in, pairs, kMinPairBytes, "key/value pairs");
  Metadata metadata(in.where());
  for (uint64_t i = 0; i < pairs; ++i) {
    const Metadata::Entry entry = read_pair(in, file);
    if (!metadata.add(entry)) throw Error(ErrorKind::kCorrupt, "{}: key \"{}\" appears twice", in.where(), printable(entry.key));
  }
  return metadata;
}

struct TensorInfo {
  CheckpointTensor tensor;
  uint64_t offset = 0, bytes = 0;
};

DType read_dtype(ByteCursor& in, std::string_view name) {
  const uint32_t type = in.number<uint32_t>("a tensor's type");
  if (const auto dtype = dtype_of_ggml_type(type)) return *dtype;
  throw Error(ErrorKind::kUnsupported, "{}: tensor \"{}\" is stored as {}, microtome reads {}; get the model in one of these",
              in.where(), printable(name), ggml_type_text(type), supported_ggml_types());
}

TensorInfo read_tensor_info(ByteCursor& in) {
  TensorInfo info;
  const uint64_t length = in.number<uint64_t>("a tensor's name");
  if (length > kMaxNameBytes) {
    throw Error(ErrorKind::kCorrupt, "{}: a tensor's name of {} bytes at byte {}, at most {} are allowed", in.where(), length,
                in.position(), kMaxNameBytes);
  }
  info.tensor.name = as_text(in.bytes(length, "a tensor's name"));
  const std::string name = printable(info.tensor.name);
  const uint32_t dimensions = in.number<uint32_t>("a tensor's number of dimensions");
  if (dimensions > kMaxDimensions) {
    throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" has {} dimensions, at most {} are allowed", in.where(), name, dimensions,
                kMaxDimensions);
  }
  for (uint32_t i = 0; i < dimensions; ++i) {
    const uint64_t size = in.number<uint64_t>("a tensor's size");
    if (size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" has a dimension of {}", in.where(), name, size);
    }
    info.tensor.shape.push_back(static_cast<int64_t>(size));
  }
  std::reverse(info.tensor.shape.begin(), info.tensor.shape.end());
  info.tensor.dtype = read_dtype(in, info.tensor.name);
  info.offset = in.number<uint64_t>("a tensor's offset");
  const auto bytes = tensor_bytes(info.tensor.dtype, info.tensor.shape);
  if (!bytes) {
    throw Error(
        ErrorKind::kCorrupt,
        "{}: tensor \"{}\" of shape {} cannot be stored as {}: too large, or a last dimension that is not whole blocks of {}",
        in.where(), name, shape_text(info.tensor.shape), dtype_name(info.tensor.dtype), dtype_block_size(info.tensor.dtype));
  }
  info.bytes = *bytes;
  return info;
}

uint64_t read_alignment(const Metadata& metadata, const std::string& where) {
  const uint64_t alignment = metadata.u64("general.alignment").value_or(32);
  if (!std::has_single_bit(alignment)) {
    throw Error(ErrorKind::kCorrupt, "{}: general.alignment is {}, expected a power of two", where, alignment);
  }
  return alignment;
}

// Points every tensor at its bytes; no two may share one.
void place_tensors(std::vector<TensorInfo>& infos, std::span<const std::byte> data, uint64_t alignment,
                   const std::string& where) {
  for (TensorInfo& info : infos) {
    const std::string name = printable(info.tensor.name);
    if (info.offset % alignment != 0) {
      throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" begins at offset {}, not a multiple of {}", where, name, info.offset,
                  alignment);
    }
    if (info.offset > data.size() || info.bytes > data.size() - info.offset) {
      throw Error(ErrorKind::kCorrupt,
                  "{}: tensor \"{}\" takes {} bytes at offset {}, the data has {}; the download may be cut short", where, name,
                  info.bytes, info.offset, data.size());
    }
    info.tensor.data = data.subspan(info.offset, info.bytes);
  }
  std::vector<const TensorInfo*> order;
  for (const TensorInfo& info : infos) {
    if (info.bytes > 0) order.push_back(&info);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->bytes > order[i]->offset) {
      throw Error(ErrorKind::kCorrupt, "{}: tensors \"{}\" and \"{}\" overlap", where, printable(order[i - 1]->tensor.name),
                  printable(order[i]->tensor.name));
    }
  }
}

void check_whole(const Metadata& metadata, const std::string& where) {
  const Metadata::Entry* split = metadata.find("split.count");
  if (split == nullptr || fixed_size(split->type) == 0) return;
  if (const uint64_t parts = metadata.u64("split.count").value_or(1); parts > 1) {
    throw Error(ErrorKind::kUnsupported, "{}: one part of a model split into {}; join them with llama-gguf-split --merge", where,
                parts);
  }
}

uint32_t read_version(ByteCursor& in) {
  const std::string_view magic = as_text(in.bytes(4, "the GGUF mark"));
  if (magic != "GGUF") {
    throw Error(ErrorKind::kCorrupt, "{}: begins with \"{}\", expected \"GGUF\": not a GGUF file", in.where(), printable(magic));
  }
  const uint32_t version = in.number<uint32_t>("the version");
  if (version == 2 || version == 3) return version;
  if ((version & 0xffff) == 0 && version != 0) {
    throw Error(ErrorKind::kUnsupported, "{}: a big-endian GGUF file; microtome reads little-endian ones", in.where());
  }
  throw Error(ErrorKind::kUnsupported, "{}: GGUF version {}, microtome reads 2 and 3", in.where(), version);
}

}  // namespace

GgufContents read_gguf(std::span<const std::byte> file, const std::string& where) {
  ByteCursor in(file, where);
  GgufContents contents;
  contents.version = read_version(in);
  const uint64_t tensors = in.number<uint64_t>("the number of tensors");
  const uint64_t pairs = in.number<uint64_t>("the number of pairs");
  contents.metadata = read_metadata(in, file, pairs);
  check_whole(contents.metadata, where);
  check_count(in, tensors, kMinTensorBytes, "tensors");
  std::vector<TensorInfo> infos;
  std::unordered_set<std::string> names;
  for (uint64_t i = 0; i < tensors; ++i) {
    infos.push_back(read_tensor_info(in));
    const std::string& name = infos.back().tensor.name;
    if (!names.insert(name).second) throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" appears twice", where, printable(name));
  }
  const uint64_t alignment = read_alignment(contents.metadata, where);
  const uint64_t padding = (alignment - in.position() % alignment) % alignment;
  // A file without tensors may end where its header does.
  const uint64_t begin = padding > in.remaining() ? file.size() : in.position() + padding;
  place_tensors(infos, file.subspan(begin), alignment, where);
  for (TensorInfo& info : infos) contents.tensors.push_back(std::move(info.tensor));
  return contents;
}

}  // namespace microtome
