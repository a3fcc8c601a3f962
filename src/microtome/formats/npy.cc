#include "microtome/formats/npy.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

#include "microtome/base/file.h"
#include "microtome/base/mapped_file.h"
#include "microtome/formats/byte_cursor.h"

namespace microtome {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64, kMaxDimensions = 64;  // NumPy's own limit

struct DescrRow {
  const char* code;  // without the byte order
  DType dtype;
};
constexpr DescrRow kDescrs[] = {{"f4", DType::kF32}, {"f2", DType::kF16},  {"f8", DType::kF64}, {"i1", DType::kI8},
                                {"u1", DType::kU8},  {"b1", DType::kBool}, {"i2", DType::kI16}, {"u2", DType::kU16},
                                {"i4", DType::kI32}, {"u4", DType::kU32},  {"i8", DType::kI64}, {"u8", DType::kU64}};

// The Python dictionary that .npy headers are: texts in quotes, True and False, tuples of integers.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  NpyHeader parse() {
    NpyHeader header;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      if (key == "descr" && !has_descr) {
        header.dtype = dtype();
        has_descr = true;
      } else if (key == "fortran_order" && !has_order) {
        header.fortran_order = boolean();
        has_order = true;
      } else if (key == "shape" && !has_shape) {
        header.shape = tuple();
        has_shape = true;
      } else {
        fail(fmt::format("has the key '{}', unknown or a second time", printable(key)));
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (at_ != text_.size()) fail("goes on behind its end");
    if (!has_descr || !has_order || !has_shape) fail("lacks descr, fortran_order or shape");
    return header;
  }

 private:
  [[noreturn]] void fail(std::string_view what) const {
    throw Error(ErrorKind::kCorrupt, "{}: the npy header {} at byte {}: {}", where_, what, at_, printable(text_));
  }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  void expect(char c) {
    if (!accept(c)) fail(fmt::format("lacks a '{}'", c));
  }

  std::string_view quoted() {
    skip_space();
    const char quote = at_ < text_.size() ? text_[at_] : ' ';
    if (quote != '\'' && quote != '"') fail("lacks a text in quotes");
    const size_t begin = at_ + 1, end = text_.find(quote, begin);
    if (end == std::string_view::npos) fail("has a text without its end");
    at_ = end + 1;
    return text_.substr(begin, end - begin);
  }

  DType dtype() {
    if (skip_space(); at_ < text_.size() && text_[at_] == '[') unsupported("a structure");
    const std::string_view descr = quoted();
    const std::string_view code = descr.substr(std::min<size_t>(1, descr.size()));
    for (const DescrRow& row : kDescrs) {
      if (code != row.code) continue;
      if (descr[0] == '<' || descr[0] == '|' || descr[0] == '=' || (descr[0] == '>' && code[1] == '1')) return row.dtype;
      if (descr[0] == '>') unsupported(fmt::format("big-endian {}", descr));
    }
    unsupported(fmt::format("'{}'", printable(descr)));
  }

  [[noreturn]] void unsupported(const std::string& what) const {
    throw Error(ErrorKind::kUnsupported,
                "{}: an array of {}; expected little-endian floats, integers or bool: save it with .astype('<f4')", where_, what);
  }

  bool boolean() {
    skip_space();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    }
    fail("lacks True or False");
  }

  std::vector<int64_t> tuple() {
    std::vector<int64_t> values;
    expect('(');
    while (!accept(')')) {
      skip_space();
      int64_t value = 0;
      const char* begin = text_.data() + at_;
      const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
      if (error != std::errc() || value < 0) fail("lacks a size from 0 to 2^63 - 1");
      at_ += static_cast<size_t>(end - begin);
      accept('L');  // Python 2 wrote 3L
      if (values.size() == kMaxDimensions) fail("has too many dimensions");
      values.push_back(value);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return values;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

// Column-major `from` to row-major `to`.
void transpose_order(const std::byte* from, std::byte* to, std::span<const int64_t> shape, size_t element) {
  std::vector<int64_t> index(shape.size(), 0);
  std::vector<uint64_t> strides(shape.size(), 1);
  uint64_t total = 1;
  for (size_t i = 0; i < shape.size(); ++i) {
    strides[i] = total;
    total *= static_cast<uint64_t>(shape[i]);
  }
  uint64_t source = 0;
  for (uint64_t n = 0; n < total; ++n) {
    std::memcpy(to + n * element, from + source * element, element);
    for (size_t i = shape.size(); i-- > 0;) {
      source += strides[i];
      if (++index[i] < shape[i]) break;
      source -= strides[i] * static_cast<uint64_t>(shape[i]);
      index[i] = 0;
    }
  }
}

float half_to_float(uint16_t half) {
  const int exponent = half >> 10 & 31, mantissa = half & 1023;
  float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                : exponent == 31
                    ? (mantissa == 0 ? std::numeric_limits<float>::infinity() : std::numeric_limits<float>::quiet_NaN())
                    : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
  return half & 0x8000 ? -value : value;
}

// Calls visit(span of the stored type).
template <class Visit>
void visit_values(const NpyArray& a, Visit visit) {
  switch (a.dtype) {
    case DType::kF32: return visit(a.as<float>());
    case DType::kF64: return visit(a.as<double>());
    case DType::kI8: return visit(a.as<int8_t>());
    case DType::kU8:
    case DType::kBool: return visit(a.as<uint8_t>());
    case DType::kI16: return visit(a.as<int16_t>());
    case DType::kU16: return visit(a.as<uint16_t>());
    case DType::kI32: return visit(a.as<int32_t>());
    case DType::kU32: return visit(a.as<uint32_t>());
    case DType::kI64: return visit(a.as<int64_t>());
    case DType::kU64: return visit(a.as<uint64_t>());
    default: throw Error(ErrorKind::kUnsupported, "an array of {} holds no plain numbers", dtype_name(a.dtype));
  }
}

}  // namespace

std::vector<float> NpyArray::floats() const {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(size()));
  if (dtype == DType::kF16) {
    for (const uint16_t half : as<uint16_t>()) values.push_back(half_to_float(half));
  } else {
    visit_values(*this, [&](auto stored) {
      for (const auto value : stored) values.push_back(static_cast<float>(value));
    });
  }
  return values;
}

std::vector<int64_t> NpyArray::integers() const {
  if (dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kF16) {
    throw Error(ErrorKind::kInvalidArgument, "an array of {} where integers are expected", dtype_name(dtype));
  }
  std::vector<int64_t> values;
  values.reserve(static_cast<size_t>(size()));
  visit_values(*this, [&](auto stored) {
    for (const auto value : stored) {
      if constexpr (std::is_same_v<decltype(value), const uint64_t>) {
        if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
          throw Error(ErrorKind::kInvalidArgument, "an array holds {}, which does not fit into 64 signed bits", value);
        }
      }
      values.push_back(static_cast<int64_t>(value));
    }
  });
  return values;
}

NpyHeader read_npy_header(std::span<const std::byte> file, const std::string& where) {
  ByteCursor in(file, where);
  if (as_text(in.bytes(kMagic.size(), "the npy mark")) != kMagic) throw Error(ErrorKind::kCorrupt, "{}: not a NumPy file", where);
  const uint8_t major = in.number<uint8_t>("the version");
  in.number<uint8_t>("the version");
  if (major < 1 || major > 3) throw Error(ErrorKind::kUnsupported, "{}: npy version {}, microtome reads 1 to 3", where, major);
  const uint32_t length = major == 1 ? in.number<uint16_t>("the header's length") : in.number<uint32_t>("the header's length");
  NpyHeader header = HeaderParser(as_text(in.bytes(length, "the header")), where).parse();
  header.data_offset = in.position();
  const auto bytes = tensor_bytes(header.dtype, header.shape);
  if (!bytes)
    throw Error(ErrorKind::kCorrupt, "{}: an array of shape {} is too large for any file", where, shape_text(header.shape));
  header.data_bytes = *bytes;
  return header;
}

NpyArray parse_npy(std::span<const std::byte> file, const std::string& where) {
  const NpyHeader header = read_npy_header(file, where);
  ByteCursor in(file.subspan(header.data_offset), where);
  const auto data = in.bytes(header.data_bytes, "the array");
  if (in.remaining() > 0) throw Error(ErrorKind::kCorrupt, "{}: {} bytes behind the array", where, in.remaining());
  NpyArray array{header.dtype, header.shape, {}};
  if (header.fortran_order && header.shape.size() > 1) {
    array.data.resize(data.size());
    if (!data.empty())
      transpose_order(data.data(), array.data.data(), header.shape, static_cast<size_t>(dtype_block_bytes(header.dtype)));
  } else {
    array.data.assign(data.begin(), data.end());
  }
  return array;
}

NpyArray read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return parse_npy(file.bytes(), printable(path.string(), 200));
}

std::string npy_header(DType dtype, const std::vector<int64_t>& shape) {
  const auto row = std::find_if(std::begin(kDescrs), std::end(kDescrs), [&](const DescrRow& r) { return r.dtype == dtype; });
  if (row == std::end(kDescrs))
    throw Error(ErrorKind::kUnsupported, "NumPy has no {}: the array cannot be written", dtype_name(dtype));
  std::string sizes;
  for (const int64_t size : shape) sizes += fmt::format("{}{}", sizes.empty() ? "" : ", ", size);
  if (shape.size() == 1) sizes += ',';
  std::string text = fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}", row->code[1] == '1' ? '|' : '<',
                                 row->code, sizes);
  const size_t before = kMagic.size() + 2 + 2;
  text.resize((before + text.size() + 1 + kAlignment - 1) / kAlignment * kAlignment - before - 1, ' ');
  text += '\n';
  if (text.size() > 0xffff)
    throw Error(ErrorKind::kInvalidArgument, "an array of {} dimensions does not fit into a .npy header", shape.size());
  const uint16_t length = static_cast<uint16_t>(text.size());
  return std::string(kMagic) + '\1' + '\0' + static_cast<char>(length & 0xff) + static_cast<char>(length >> 8) + text;
}

void write_npy(const std::filesystem::path& path, DType dtype, const std::vector<int64_t>& shape,
               std::span<const std::byte> data) {
  const std::string header = npy_header(dtype, shape);
  if (tensor_bytes(dtype, shape) != data.size()) {
    throw Error(ErrorKind::kInvalidArgument, "{} bytes are not an array of {} of shape {}", data.size(), dtype_name(dtype),
                shape_text(shape));
  }
  write_atomically(path, [&](std::ostream& out) {
    out << header;
    out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  });
}

}  // namespace microtome
