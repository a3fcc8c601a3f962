#include "microtome/formats/safetensors.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_set>

#include "microtome/base/file.h"
#include "microtome/base/json.h"
#include "microtome/formats/byte_cursor.h"

namespace microtome {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8,  DType::kU8, DType::kBool,
                             DType::kI16, DType::kU16, DType::kI32,  DType::kU32, DType::kI64, DType::kU64};

std::optional<DType> dtype_of_name(std::string_view name) {
  for (const DType dtype : kDTypes) {
    if (name == dtype_name(dtype)) return dtype;
  }
  return {};
}

struct HeaderTensor {
  CheckpointTensor tensor;
  std::vector<uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

// Follows the header's grammar event by event and stops at the first that does not belong there, so a hostile header costs
// no more memory than a good one of its length.
class HeaderHandler : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderHandler(std::string where) : where_(std::move(where)) {}

  std::vector<HeaderTensor> tensors;
  std::vector<std::pair<std::string, std::string>> metadata;

  bool start_object(std::size_t) override {
    if (state_ == State::kStart) return go(State::kTop);
    if (state_ != State::kTopValue) reject("an object");
    if (key_ == "__metadata__") return go(State::kMetadata);
    tensors.emplace_back();
    tensors.back().tensor.name = key_;
    return go(State::kTensor);
  }

  bool end_object() override {
    if (state_ == State::kTop) return go(State::kEnd);
    if (state_ == State::kTensor) finish_tensor();
    return go(State::kTop);
  }

  bool key(string_t& name) override {
    key_ = name;
    switch (state_) {
      case State::kTop:
        if (!names_.insert(name).second) corrupt("the header names \"{}\" twice", printable(name));
        return go(State::kTopValue);
      case State::kMetadata:
        if (!metadata_keys_.insert(name).second) corrupt("__metadata__ names \"{}\" twice", printable(name));
        return go(State::kMetadataValue);
      default:
        if (name == "dtype" && !tensors.back().has_dtype) return go(State::kDType);
        if (name == "shape" && !tensors.back().has_shape) return go(State::kShape);
        if (name == "data_offsets" && !tensors.back().has_offsets) return go(State::kOffsets);
        reject(fmt::format("the field \"{}\"", printable(name)));
    }
  }

  bool start_array(std::size_t) override {
    if (state_ == State::kShape) {
      tensors.back().has_shape = true;
      return go(State::kInShape);
    }
    if (state_ != State::kOffsets) reject("a list");
    tensors.back().has_offsets = true;
    return go(State::kInOffsets);
  }

  bool end_array() override { return go(State::kTensor); }

  bool string(string_t& text) override {
    if (state_ == State::kMetadataValue) {
      metadata.emplace_back(key_, text);
      return go(State::kMetadata);
    }
    if (state_ != State::kDType) reject("a text");
    HeaderTensor& current = tensors.back();
    const auto dtype = dtype_of_name(text);
    if (!dtype) {
      throw Error(ErrorKind::kUnsupported,
                  "{}: tensor \"{}\" is stored as {}, which microtome does not read; convert it to F32, F16 or BF16", where_,
                  printable(current.tensor.name), printable(text));
    }
    current.tensor.dtype = *dtype;
    current.has_dtype = true;
    return go(State::kTensor);
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::kInShape && value <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      tensors.back().tensor.shape.push_back(static_cast<int64_t>(value));
    } else if (state_ == State::kInOffsets && tensors.back().offsets.size() < 2) {
      tensors.back().offsets.push_back(value);
    } else {
      reject(fmt::format("the number {}", value));
    }
    return true;
  }

  bool number_integer(number_integer_t value) override { reject(fmt::format("the number {}", value)); }
  bool number_float(number_float_t, const string_t& text) override { reject(fmt::format("the number {}", printable(text))); }
  bool boolean(bool value) override { reject(value ? "true" : "false"); }
  bool null() override { reject("null"); }
  bool binary(binary_t&) override { reject("binary data"); }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception&) override {
    corrupt("the header is not JSON at byte {}", position);
  }

 private:
  enum class State {
    kStart,
    kTop,
    kTopValue,
    kMetadata,
    kMetadataValue,
    kTensor,
    kDType,
    kShape,
    kInShape,
    kOffsets,
    kInOffsets,
    kEnd
  };

  bool go(State next) {
    state_ = next;
    return true;
  }

  template <class... Args>
  [[noreturn]] void corrupt(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(ErrorKind::kCorrupt, "{}: {}", where_, fmt::format(format, std::forward<Args>(args)...));
  }

  [[noreturn]] void reject(std::string_view found) {
    if (state_ == State::kStart) corrupt("the header is {}, expected an object", found);
    if (state_ == State::kMetadataValue) corrupt("__metadata__ holds {} under \"{}\", expected a text", found, printable(key_));
    const std::string name = tensors.empty() ? key_ : state_ == State::kTopValue ? key_ : tensors.back().tensor.name;
    corrupt("the header's entry \"{}\" holds {} where a dtype, a shape or two data_offsets belong", printable(name), found);
  }

  void finish_tensor() {
    const HeaderTensor& current = tensors.back();
    if (current.has_dtype && current.has_shape && current.offsets.size() == 2) return;
    corrupt("tensor \"{}\" lacks its {}", printable(current.tensor.name),
            !current.has_dtype   ? "dtype"
            : !current.has_shape ? "shape"
                                 : "data_offsets");
  }

  std::string where_, key_;
  State state_ = State::kStart;
  std::unordered_set<std::string> names_, metadata_keys_;
};

// Checks sizes and that the tensors fill the data, and points each at its bytes.
void place_tensors(std::vector<HeaderTensor>& tensors, std::span<const std::byte> data, const std::string& where) {
  std::vector<HeaderTensor*> order;
  for (HeaderTensor& t : tensors) {
    const std::string name = printable(t.tensor.name);
    const uint64_t begin = t.offsets[0], end = t.offsets[1];
    if (begin > end || end > data.size()) {
      throw Error(ErrorKind::kCorrupt,
                  "{}: tensor \"{}\" takes bytes {} to {} of the data, which has {}; the download may be cut short", where, name,
                  begin, end, data.size());
    }
    const auto bytes = tensor_bytes(t.tensor.dtype, t.tensor.shape);
    if (!bytes || *bytes != end - begin) {
      throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\", {} of shape {}, has {} bytes of data, which is not its size", where,
                  name, dtype_name(t.tensor.dtype), shape_text(t.tensor.shape), end - begin);
    }
    t.tensor.data = data.subspan(begin, end - begin);
    order.push_back(&t);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offsets < b->offsets; });
  uint64_t filled = 0;
  for (const HeaderTensor* t : order) {
    if (t->offsets[0] != filled) {
      throw Error(ErrorKind::kCorrupt, "{}: tensor \"{}\" begins at byte {} of the data, expected {}: {}", where,
                  printable(t->tensor.name), t->offsets[0], filled,
                  t->offsets[0] < filled ? "two tensors overlap" : "bytes that belong to no tensor");
    }
    filled = t->offsets[1];
  }
  if (filled != data.size()) {
    throw Error(ErrorKind::kCorrupt, "{}: the tensors end at byte {} of the data, which has {}", where, filled, data.size());
  }
}

}  // namespace

SafetensorsContents read_safetensors(std::span<const std::byte> file, const std::string& where) {
  ByteCursor in(file, where);
  const uint64_t length = in.number<uint64_t>("the header's length");
  if (length > kMaxHeaderBytes) {
    throw Error(ErrorKind::kCorrupt, "{}: a header of {} bytes, at most {} are allowed: not a safetensors file", where, length,
                kMaxHeaderBytes);
  }
  const std::string_view header = as_text(in.bytes(length, "the header"));
  HeaderHandler handler(where);
  Json::sax_parse(header, &handler);
  place_tensors(handler.tensors, file.subspan(in.position()), where);
  SafetensorsContents contents;
  for (HeaderTensor& t : handler.tensors) contents.tensors.push_back(std::move(t.tensor));
  contents.metadata = std::move(handler.metadata);
  return contents;
}

void write_safetensors(const std::filesystem::path& path, std::span<const CheckpointTensor> tensors,
                       std::span<const std::pair<std::string, std::string>> metadata) {
  std::vector<const CheckpointTensor*> order;
  for (const CheckpointTensor& t : tensors) order.push_back(&t);
  std::stable_sort(order.begin(), order.end(),
                   [](const auto* a, const auto* b) { return dtype_block_bytes(a->dtype) > dtype_block_bytes(b->dtype); });
  Json header = Json::object();
  if (!metadata.empty()) {
    Json& texts = header["__metadata__"] = Json::object();
    for (const auto& [key, value] : metadata) texts[key] = value;
  }
  uint64_t offset = 0;
  std::unordered_set<std::string_view> names{"__metadata__"};
  for (const CheckpointTensor* t : order) {
    if (std::find(std::begin(kDTypes), std::end(kDTypes), t->dtype) == std::end(kDTypes)) {
      throw Error(ErrorKind::kUnsupported, "safetensors has no {}: tensor \"{}\" cannot be written", dtype_name(t->dtype),
                  printable(t->name));
    }
    if (!names.insert(t->name).second || tensor_bytes(t->dtype, t->shape) != t->data.size()) {
      throw Error(ErrorKind::kInvalidArgument, "tensor \"{}\", {} of shape {} with {} bytes: a name twice, or not its size",
                  printable(t->name), dtype_name(t->dtype), shape_text(t->shape), t->data.size());
    }
    header[t->name] = {{"dtype", dtype_name(t->dtype)}, {"shape", t->shape}, {"data_offsets", {offset, offset + t->data.size()}}};
    offset += t->data.size();
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  write_atomically(path, [&](std::ostream& out) {
    const uint64_t length = text.size();
    out.write(reinterpret_cast<const char*>(&length), sizeof length);
    out << text;
    for (const CheckpointTensor* t : order) {
      out.write(reinterpret_cast<const char*>(t->data.data()), static_cast<std::streamsize>(t->data.size()));
    }
  });
}

}  // namespace microtome
