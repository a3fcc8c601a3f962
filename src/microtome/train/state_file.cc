#include "microtome/train/state_file.h"

#include <algorithm>

#include "microtome/base/error.h"

namespace microtome {

void StateWriter::add(const std::string& name, std::span<const double> data) {
  tensors_.push_back({name, DType::kF64, {std::ssize(data)}, std::as_bytes(data)});
}

void StateWriter::add(const std::string& name, std::span<const float> data) {
  tensors_.push_back({name, DType::kF32, {std::ssize(data)}, std::as_bytes(data)});
}

void StateWriter::save(const std::filesystem::path& path) const {
  const std::vector<std::pair<std::string, std::string>> texts{{"format", "microtome state"}, {"values", dump_json(values)}};
  write_safetensors(path, tensors_, texts);
}

StateReader::StateReader(const std::filesystem::path& path) : where_(printable(path.string(), 200)), file_(path) {
  contents_ = read_safetensors(file_.bytes(), where_);
  for (const auto& [key, text] : contents_.metadata)
    if (key == "values") values_ = parse_json(text, where_);
  if (!values_.is_object()) throw Error(ErrorKind::kCorrupt, "{}: is no state of a training run", where_);
}

void StateReader::copy(const std::string& name, DType dtype, std::span<std::byte> data) const {
  for (const CheckpointTensor& t : contents_.tensors) {
    if (t.name != name) continue;
    if (t.dtype != dtype || t.data.size() != data.size())
      throw Error(ErrorKind::kCorrupt, "{}: \"{}\" is {} {}, expected {} bytes of {}", where_, printable(name),
                  dtype_name(t.dtype), shape_text(t.shape), data.size(), dtype_name(dtype));
    std::copy(t.data.begin(), t.data.end(), data.begin());
    return;
  }
  throw Error(ErrorKind::kCorrupt, "{}: has no \"{}\"; it belongs to another kind of run", where_, printable(name));
}

void StateReader::read(const std::string& name, std::span<double> data) const {
  copy(name, DType::kF64, std::as_writable_bytes(data));
}

void StateReader::read(const std::string& name, std::span<float> data) const {
  copy(name, DType::kF32, std::as_writable_bytes(data));
}

int64_t StateReader::integer(const std::string& name) const {
  const auto it = values_.find(name);
  if (it == values_.end() || !it->is_number_integer())
    throw Error(ErrorKind::kCorrupt, "{}: has no whole number \"{}\"", where_, name);
  return it->get<int64_t>();
}

}  // namespace microtome
