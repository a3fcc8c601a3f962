#include "microtome/train/state_file.h"

#include <algorithm>
#include <cmath>

#include "microtome/base/error.h"

namespace microtome {
namespace {

constexpr const char* kFormat = "microtome state";

}  // namespace

void StateWriter::add(const std::string& name, std::span<const double> data) {
  tensors_.push_back({name, DType::kF64, {std::ssize(data)}, std::as_bytes(data)});
}

void StateWriter::add(const std::string& name, std::span<const float> data) {
  tensors_.push_back({name, DType::kF32, {std::ssize(data)}, std::as_bytes(data)});
}

void StateWriter::save(const std::filesystem::path& path) const {
  const std::vector<std::pair<std::string, std::string>> texts{{"format", kFormat}, {"values", dump_json(values)}};
  write_safetensors(path, tensors_, texts);
}

StateReader::StateReader(const std::filesystem::path& path) : where_(printable(path.string(), 200)), file_(path) {
  contents_ = read_safetensors(file_.bytes(), where_);
  std::string format;
  for (const auto& [key, text] : contents_.metadata) {
    if (key == "format") format = text;
    if (key == "values") values_ = parse_json(text, where_);
  }
  if (format != kFormat || !values_.is_object()) corrupt("is no state of a training run");
}

void StateReader::corrupt(const std::string& what) const { throw Error(ErrorKind::kCorrupt, "{}: {}", where_, what); }

template <class T>
void StateReader::copy(const std::string& name, DType dtype, std::span<T> data) const {
  for (const CheckpointTensor& t : contents_.tensors) {
    if (t.name != name) continue;
    if (t.dtype != dtype || t.shape != std::vector<int64_t>{std::ssize(data)})
      corrupt(fmt::format("\"{}\" is {} {}, expected {} [{}]", printable(name), dtype_name(t.dtype), shape_text(t.shape),
                          dtype_name(dtype), data.size()));
    std::copy(t.data.begin(), t.data.end(), std::as_writable_bytes(data).begin());
    if (!std::all_of(data.begin(), data.end(), [](T x) { return std::isfinite(x); }))
      corrupt(fmt::format("\"{}\" holds a value that is not finite", printable(name)));
    return;
  }
  corrupt(fmt::format("has no \"{}\"; it belongs to another kind of run", printable(name)));
}

void StateReader::read(const std::string& name, std::span<double> data) const { copy(name, DType::kF64, data); }

void StateReader::read(const std::string& name, std::span<float> data) const { copy(name, DType::kF32, data); }

int64_t StateReader::count(const std::string& name) const {
  const auto it = values_.find(name);
  if (it == values_.end() || !it->is_number_integer()) corrupt(fmt::format("has no whole number \"{}\"", name));
  const auto n = it->get<int64_t>();
  if (n < 0) corrupt(fmt::format("\"{}\" is {}, expected 0 or more", name, n));
  return n;
}

}  // namespace microtome
