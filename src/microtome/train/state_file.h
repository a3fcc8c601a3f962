// The state of a training run on disk: named arrays and a JSON object, in one safetensors file.
//
//   StateWriter out;
//   out.add("momentum.3", buffer);
//   out.values["position"] = 17;
//   out.save("state.safetensors");                   // whole or not at all
//
//   StateReader in("state.safetensors");
//   in.read("momentum.3", buffer);                   // the same bits
//
// The writer's arrays must outlive save(). One thread.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "microtome/base/json.h"
#include "microtome/base/mapped_file.h"
#include "microtome/formats/safetensors.h"
#include "microtome/tensor/tensor.h"

namespace microtome {

class StateWriter {
 public:
  void add(const std::string& name, std::span<const double> data);
  void add(const std::string& name, std::span<const float> data);
  void add(const std::string& name, const Tensor& data) { add(name, std::span(data.f32(), static_cast<size_t>(data.numel()))); }
  Json values = Json::object();

  void save(const std::filesystem::path& path) const;

 private:
  std::vector<CheckpointTensor> tensors_;
};

class StateReader {
 public:
  // Throws NotFound, Io, Corrupt (also for a safetensors file that is no state).
  explicit StateReader(const std::filesystem::path& path);

  // Throws Corrupt if there is no such array, it is of another type or shape, or holds a value that is not finite.
  void read(const std::string& name, std::span<double> data) const;
  void read(const std::string& name, std::span<float> data) const;
  void read(const std::string& name, Tensor& data) const { read(name, std::span(data.f32(), static_cast<size_t>(data.numel()))); }

  const Json& values() const { return values_; }
  // A whole number from 0 in `values`. Throws Corrupt.
  int64_t count(const std::string& name) const;

  // Throws Corrupt, the file's name first.
  [[noreturn]] void corrupt(const std::string& what) const;

 private:
  template <class T>
  void copy(const std::string& name, DType dtype, std::span<T> data) const;
  std::string where_;
  MappedFile file_;
  SafetensorsContents contents_;
  Json values_;
};

}  // namespace microtome
