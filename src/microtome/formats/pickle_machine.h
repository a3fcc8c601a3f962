// The machine that runs a pickle's instructions (internal to torch_file). One use per pickle; one thread.
#pragma once

#include <functional>
#include <unordered_map>

#include "microtome/formats/byte_cursor.h"
#include "microtome/formats/torch_file.h"

namespace microtome::internal {

// What torch saves in place of a storage: ('storage', type, key, location, number of elements).
struct StorageName {
  DType dtype = DType::kF32;
  std::string key;
  int64_t elements = 0;
};

struct TensorView {
  StorageName storage;
  int64_t offset = 0;  // elements
  std::vector<int64_t> shape, stride;
};

class PickleMachine {
 public:
  // `load` gives a view's values; it checks them against the storage.
  PickleMachine(std::span<const std::byte> pickle, const std::string& where, std::function<TorchTensor(const TensorView&)> load)
      : in_(pickle, where), load_(std::move(load)) {}

  TorchValue run();

 private:
  enum class Global { kRebuildTensor, kOrderedDict, kFloat, kHalf, kBFloat16 };
  struct Mark {};
  struct Item;
  using Tuple = std::vector<Item>;
  struct Item {
    std::variant<TorchValue, Mark, Global, Tuple, StorageName> value;
    int depth = 0;
  };

  bool step();  // false: STOP
  void step_number(uint8_t op);
  bool step_container(uint8_t op);
  bool step_memo(uint8_t op);
  bool step_call(uint8_t op);

  void push(Item item);
  void push_value(TorchValue value) { push({std::move(value), 0}); }
  Item pop();
  TorchValue pop_value();
  std::string pop_text(const char* what);
  std::vector<Item> pop_to_mark();
  void push_tuple(size_t n);
  void push_text(uint64_t length);
  void put(uint64_t slot);
  void get(uint64_t slot);
  void append(std::vector<Item> items);
  void set(std::vector<Item> items);
  void push_global(const std::string& module, const std::string& name);
  void push_storage();
  void reduce();
  std::string line();
  TorchValue to_value(Item item) const;
  int64_t integer(const Item& item, const char* what) const;
  std::vector<int64_t> integers(const Item& item, const char* what) const;
  [[noreturn]] void corrupt(const std::string& what) const;
  [[noreturn]] void unsupported(const std::string& what) const;

  ByteCursor in_;
  std::function<TorchTensor(const TensorView&)> load_;
  std::vector<Item> stack_;
  std::unordered_map<uint64_t, Item> memo_;
  uint64_t next_memo_ = 0;
};

}  // namespace microtome::internal
