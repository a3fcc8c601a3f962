#include "microtome/formats/torch_file.h"

#include <bit>
#include <cstring>
#include <map>

#include "microtome/base/file.h"
#include "microtome/base/mapped_file.h"
#include "microtome/formats/pickle_machine.h"
#include "microtome/formats/zip.h"
#include "microtome/kernels/packed_matrix.h"

namespace microtome {
namespace {

// Nearest even; beyond the largest half: infinity.
uint16_t to_half(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal: adding 0.5 leaves its 10 bits at the end of the sum
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(sum) - std::bit_cast<uint32_t>(0.5f)));
  }
  const uint32_t odd = (magnitude >> 13) & 1;
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000 + 0xfff + odd) >> 13));
}

// The storages of an archive, and tensors cut from them.
class Storages {
 public:
  Storages(const ZipReader& zip, std::string prefix) : zip_(zip), prefix_(std::move(prefix)) {}

  TorchTensor load(const internal::TensorView& view) {
    const std::vector<std::byte>& data = storage(view.storage);
    const int64_t width = dtype_block_bytes(view.storage.dtype);
    int64_t n = 1, last = view.offset;
    if (view.stride.size() != view.shape.size()) corrupt("a tensor has another number of strides than of dimensions");
    for (size_t i = 0; i < view.shape.size(); ++i) {
      int64_t step = 0;
      if (view.shape[i] == 0) corrupt("an empty tensor");
      if (__builtin_mul_overflow(view.shape[i] - 1, view.stride[i], &step) || __builtin_add_overflow(last, step, &last) ||
          __builtin_mul_overflow(n, view.shape[i], &n) || n > view.storage.elements)
        corrupt("a tensor is larger than its storage");
    }
    if (last >= view.storage.elements) corrupt("a tensor ends beyond its storage");
    taken_ += static_cast<uint64_t>(n * width);
    if (taken_ > 2 * total_) corrupt("its tensors are larger than its storages");
    TorchTensor out{view.storage.dtype, view.shape, std::vector<std::byte>(static_cast<size_t>(n * width))};
    copy(view, data, width, out.data);
    return out;
  }

 private:
  [[noreturn]] void corrupt(const char* what) const { throw Error(ErrorKind::kCorrupt, "{}: {}", zip_.where(), what); }

  const std::vector<std::byte>& storage(const internal::StorageName& name) {
    const auto it = storages_.find(name.key);
    const auto expected = static_cast<uint64_t>(dtype_block_bytes(name.dtype));
    uint64_t bytes = 0;
    if (!multiply_fits(static_cast<uint64_t>(name.elements), expected, &bytes)) corrupt("a storage's length overflows");
    if (it == storages_.end()) {
      const ZipEntry& entry = zip_.get(prefix_ + "data/" + name.key);
      if (entry.method != 0)
        throw Error(ErrorKind::kUnsupported, "{}: a storage is compressed, which torch.save does not do", zip_.where());
      if (entry.size != bytes) corrupt("a storage has another length than its tensors say");
      total_ += bytes;
      return storages_.emplace(name.key, zip_.read(entry, bytes)).first->second;
    }
    if (it->second.size() != bytes) corrupt("a storage has another length than its tensors say");
    return it->second;
  }

  static void copy(const internal::TensorView& view, const std::vector<std::byte>& data, int64_t width,
                   std::vector<std::byte>& out) {
    std::vector<int64_t> at(view.shape.size(), 0);
    int64_t from = view.offset;
    for (size_t to = 0; to < out.size(); to += static_cast<size_t>(width)) {
      std::memcpy(out.data() + to, data.data() + from * width, static_cast<size_t>(width));
      for (size_t i = view.shape.size(); i-- > 0;) {
        from += view.stride[i];
        if (++at[i] < view.shape[i]) break;
        from -= view.stride[i] * view.shape[i];
        at[i] = 0;
      }
    }
  }

  const ZipReader& zip_;
  std::string prefix_;
  std::map<std::string, std::vector<std::byte>> storages_;
  uint64_t total_ = 0, taken_ = 0;
};

TorchValue read_archive(const ZipReader& zip) {
  constexpr uint64_t kMostPickle = 64 << 20;
  std::string prefix;
  const ZipEntry* pickle = nullptr;
  for (const ZipEntry& e : zip.entries()) {
    if (!e.name.ends_with("data.pkl")) continue;
    prefix = e.name.substr(0, e.name.size() - 8);
    pickle = &e;
    break;
  }
  if (!pickle)
    throw Error(ErrorKind::kCorrupt, "{}: has no data.pkl; it is no file that torch.save wrote (of PyTorch 1.6 or later)",
                zip.where());
  if (const ZipEntry* order = zip.find(prefix + "byteorder")) {
    const auto bytes = zip.read(*order, 16);
    if (as_text(bytes) != "little") throw Error(ErrorKind::kUnsupported, "{}: its byte order is not little-endian", zip.where());
  }
  const std::vector<std::byte> code = zip.read(*pickle, kMostPickle);
  Storages storages(zip, prefix);
  return internal::PickleMachine(code, zip.where(), [&](const internal::TensorView& v) { return storages.load(v); }).run();
}

// --- writing -------------------------------------------------------------------------------------------------------------------

class PickleWriter {
 public:
  std::string code = "\x80\x02";
  std::vector<const TorchTensor*> tensors;

  void value(const TorchValue& v) {
    if (const auto* b = v.as<bool>()) code += *b ? '\x88' : '\x89';
    else if (const auto* n = v.as<int64_t>()) integer(*n);
    else if (const auto* x = v.as<double>()) number(*x);
    else if (const auto* s = v.as<std::string>()) text(*s);
    else if (const auto* list = v.as<TorchValue::List>()) {
      code += "](";
      for (const TorchValue& e : *list) value(e);
      code += 'e';
    } else if (const auto* dict = v.as<TorchValue::Dict>()) {
      code += "}(";
      for (const auto& [key, e] : *dict) {
        value(key);
        value(e);
      }
      code += 'u';
    } else if (const auto* t = v.as<TorchTensor>()) {
      tensor(*t);
    } else {
      code += 'N';
    }
  }

 private:
  template <class T>
  void raw(T x) {
    code.append(reinterpret_cast<const char*>(&x), sizeof x);
  }
  void integer(int64_t n) {
    if (n == static_cast<int32_t>(n)) {
      code += 'J';
      raw(static_cast<int32_t>(n));
    } else {
      code += "\x8a\x08";
      raw(n);
    }
  }
  void number(double x) {
    code += 'G';
    raw(__builtin_bswap64(std::bit_cast<uint64_t>(x)));
  }
  void text(const std::string& s) {
    code += 'X';
    raw(static_cast<uint32_t>(s.size()));
    code += s;
  }
  void integers(const std::vector<int64_t>& v) {
    code += '(';
    for (const int64_t n : v) integer(n);
    code += 't';
  }
  void tensor(const TorchTensor& t) {
    const char* type = t.dtype == DType::kF16 ? "Half" : t.dtype == DType::kBF16 ? "BFloat16" : "Float";
    std::vector<int64_t> stride(t.shape.size(), 1);
    for (size_t i = t.shape.size(); i-- > 1;) stride[i - 1] = stride[i] * t.shape[i];
    code += "ctorch._utils\n_rebuild_tensor_v2\n((";
    text("storage");
    code += fmt::format("ctorch\n{}Storage\n", type);
    text(std::to_string(tensors.size()));
    text("cpu");
    integer(static_cast<int64_t>(t.data.size()) / dtype_block_bytes(t.dtype));
    code += "tQ";
    integer(0);
    integers(t.shape);
    integers(stride);
    code +=
        "\x89"
        "ccollections\nOrderedDict\n)RtR";
    tensors.push_back(&t);
  }
};

}  // namespace

std::vector<float> TorchTensor::floats() const {
  std::vector<float> out(data.size() / static_cast<size_t>(dtype_block_bytes(dtype)));
  widen(dtype, data.data(), std::ssize(out), out.data());
  return out;
}

TorchTensor TorchTensor::f16(std::span<const float> values, std::vector<int64_t> shape) {
  TorchTensor t{DType::kF16, std::move(shape), std::vector<std::byte>(values.size() * 2)};
  for (size_t i = 0; i < values.size(); ++i) {
    const uint16_t half = to_half(values[i]);
    std::memcpy(t.data.data() + 2 * i, &half, 2);
  }
  return t;
}

TorchTensor TorchTensor::f32(std::span<const float> values, std::vector<int64_t> shape) {
  const auto bytes = std::as_bytes(values);
  return {DType::kF32, std::move(shape), {bytes.begin(), bytes.end()}};
}

const TorchValue* TorchValue::find(std::string_view key) const {
  const auto* dict = as<Dict>();
  if (!dict) return nullptr;
  for (const auto& [k, v] : *dict)
    if (const auto* text = k.as<std::string>(); text && *text == key) return &v;
  return nullptr;
}

TorchValue parse_torch(std::span<const std::byte> file, const std::string& where) { return read_archive(ZipReader(file, where)); }

TorchValue read_torch(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_torch(file.bytes(), printable(path.string(), 200));
}

void write_torch(const std::filesystem::path& path, const TorchValue& value) {
  PickleWriter pickle;
  pickle.value(value);
  pickle.code += '.';
  write_atomically(path, [&](std::ostream& out) {
    ZipWriter zip(out);
    const auto add = [&](const std::string& name, std::span<const std::byte> bytes) {
      zip.begin("lens/" + name, bytes.size(), false);
      zip.write(bytes);
      zip.end();
    };
    add("data.pkl", as_byte_span(pickle.code));
    add("byteorder", as_byte_span("little"));
    for (size_t i = 0; i < pickle.tensors.size(); ++i) add("data/" + std::to_string(i), pickle.tensors[i]->data);
    add("version", as_byte_span("3\n"));
    zip.finish();
  });
}

}  // namespace microtome
