#include "microtome/formats/metadata.h"

#include <limits>
#include <utility>
#include <variant>

#include "microtome/formats/byte_cursor.h"

namespace microtome {
namespace {

using Type = Metadata::Type;

struct TypeRow {
  const char* name;
  size_t size;
};
constexpr TypeRow kTypeRows[Metadata::kTypes] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                                                 {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 0}, {"array", 0},
                                                 {"u64", 8}, {"i64", 8}, {"f64", 8}};

using Number = std::variant<std::monostate, uint64_t, int64_t, double>;

// The value of a scalar type at p; monostate for strings and arrays.
Number number_at(Type type, const std::byte* p) {
  switch (type) {
    case Type::kU8: return uint64_t{load_little_endian<uint8_t>(p)};
    case Type::kBool: return uint64_t{load_little_endian<uint8_t>(p) != 0};
    case Type::kU16: return uint64_t{load_little_endian<uint16_t>(p)};
    case Type::kU32: return uint64_t{load_little_endian<uint32_t>(p)};
    case Type::kU64: return load_little_endian<uint64_t>(p);
    case Type::kI8: return int64_t{load_little_endian<int8_t>(p)};
    case Type::kI16: return int64_t{load_little_endian<int16_t>(p)};
    case Type::kI32: return int64_t{load_little_endian<int32_t>(p)};
    case Type::kI64: return load_little_endian<int64_t>(p);
    case Type::kF32: return double{load_little_endian<float>(p)};
    case Type::kF64: return load_little_endian<double>(p);
    case Type::kString:
    case Type::kArray: return {};
  }
  return {};
}

template <class To>
std::optional<To> integer(const Number& number) {
  if (const auto* u = std::get_if<uint64_t>(&number); u && std::in_range<To>(*u)) return static_cast<To>(*u);
  if (const auto* i = std::get_if<int64_t>(&number); i && std::in_range<To>(*i)) return static_cast<To>(*i);
  return {};
}

std::optional<double> real(const Number& number) {
  if (const auto* u = std::get_if<uint64_t>(&number)) return static_cast<double>(*u);
  if (const auto* i = std::get_if<int64_t>(&number)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&number)) return *d;
  return {};
}

std::string describe(const Metadata::Entry& entry) {
  if (entry.type == Type::kArray) return fmt::format("an array of {} {}", entry.count, to_string(entry.element));
  if (const auto value = real(number_at(entry.type, entry.bytes.data())))
    return fmt::format("{} {}", to_string(entry.type), *value);
  return to_string(entry.type);
}

[[noreturn]] void fail(const std::string& where, const Metadata::Entry& entry, std::string_view expected) {
  throw Error(ErrorKind::kCorrupt, "{}: key \"{}\" holds {}, expected {}", where, printable(entry.key), describe(entry),
              expected);
}

template <class To, class Convert>
std::optional<std::vector<To>> numbers(const std::string& where, const Metadata::Entry* entry, std::string_view expected,
                                       Convert convert) {
  if (entry == nullptr) return {};
  const size_t size = entry->type == Type::kArray ? fixed_size(entry->element) : 0;
  if (size == 0) fail(where, *entry, expected);
  std::vector<To> values;
  values.reserve(entry->count);
  for (uint64_t i = 0; i < entry->count; ++i) {
    const auto value = convert(number_at(entry->element, entry->bytes.data() + i * size));
    if (!value) fail(where, *entry, expected);
    values.push_back(static_cast<To>(*value));
  }
  return values;
}

}  // namespace

const char* to_string(Type type) { return kTypeRows[static_cast<uint32_t>(type)].name; }
size_t fixed_size(Type type) { return kTypeRows[static_cast<uint32_t>(type)].size; }

const Metadata::Entry* Metadata::find(std::string_view key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? nullptr : &entries_[it->second];
}

bool Metadata::add(const Entry& entry) {
  if (!index_.emplace(entry.key, entries_.size()).second) return false;
  entries_.push_back(entry);
  return true;
}

std::optional<uint64_t> Metadata::u64(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return {};
  const auto value = integer<uint64_t>(number_at(entry->type, entry->bytes.data()));
  if (!value || entry->type == Type::kBool) fail(where_, *entry, "an integer that is not negative");
  return value;
}

std::optional<int64_t> Metadata::i64(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return {};
  const auto value = integer<int64_t>(number_at(entry->type, entry->bytes.data()));
  if (!value || entry->type == Type::kBool) fail(where_, *entry, "an integer of 64 bits");
  return value;
}

std::optional<double> Metadata::f64(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return {};
  const auto value = real(number_at(entry->type, entry->bytes.data()));
  if (!value || entry->type == Type::kBool) fail(where_, *entry, "a number");
  return value;
}

std::optional<bool> Metadata::boolean(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return {};
  if (entry->type != Type::kBool) fail(where_, *entry, "a bool");
  return load_little_endian<uint8_t>(entry->bytes.data()) != 0;
}

std::optional<std::string_view> Metadata::string(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return {};
  if (entry->type != Type::kString) fail(where_, *entry, "a string");
  return as_text(entry->bytes);
}

std::optional<std::vector<std::string_view>> Metadata::strings(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return {};
  if (entry->type != Type::kArray || entry->element != Type::kString) fail(where_, *entry, "an array of strings");
  ByteCursor in(entry->bytes, where_);
  std::vector<std::string_view> values;
  values.reserve(entry->count);
  for (uint64_t i = 0; i < entry->count; ++i) {
    const uint64_t length = in.number<uint64_t>("a string's length");
    values.push_back(as_text(in.bytes(length, "a string")));
  }
  return values;
}

std::optional<std::vector<int32_t>> Metadata::i32s(std::string_view key) const {
  return numbers<int32_t>(where_, find(key), "an array of 32-bit integers", [](const Number& n) { return integer<int32_t>(n); });
}

std::optional<std::vector<float>> Metadata::f32s(std::string_view key) const {
  return numbers<float>(where_, find(key), "an array of numbers", [](const Number& n) { return real(n); });
}

}  // namespace microtome
