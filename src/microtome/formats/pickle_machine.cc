#include "microtome/formats/pickle_machine.h"

#include <bit>

namespace microtome::internal {
namespace {

// Values within values; published files have three.
constexpr int kMostDepth = 32;

// Pickle's instructions (pickletools documents them).
enum Op : uint8_t {
  kMark = '(',
  kStop = '.',
  kBinFloat = 'G',
  kBinInt = 'J',
  kBinInt1 = 'K',
  kBinInt2 = 'M',
  kNone = 'N',
  kBinPersId = 'Q',
  kReduce = 'R',
  kBinUnicode = 'X',
  kEmptyList = ']',
  kAppend = 'a',
  kGlobal = 'c',
  kAppends = 'e',
  kBinGet = 'h',
  kLongBinGet = 'j',
  kBinPut = 'q',
  kLongBinPut = 'r',
  kSetItem = 's',
  kTuple = 't',
  kEmptyTuple = ')',
  kSetItems = 'u',
  kEmptyDict = '}',
  kProto = 0x80,
  kTuple1 = 0x85,
  kTuple2 = 0x86,
  kTuple3 = 0x87,
  kNewTrue = 0x88,
  kNewFalse = 0x89,
  kLong1 = 0x8a,
  kShortBinUnicode = 0x8c,
  kStackGlobal = 0x93,
  kMemoize = 0x94,
  kFrame = 0x95,
};

}  // namespace

void PickleMachine::corrupt(const std::string& what) const {
  throw Error(ErrorKind::kCorrupt, "{}: the pickle is malformed at byte {}: {}", in_.where(), in_.position(), what);
}

void PickleMachine::unsupported(const std::string& what) const {
  throw Error(ErrorKind::kUnsupported,
              "{}: the pickle holds {} at byte {}; only dicts, lists, numbers, texts and tensors are read", in_.where(), what,
              in_.position());
}

TorchValue PickleMachine::run() {
  while (step()) continue;
  if (stack_.size() != 1) corrupt(fmt::format("it ends with {} values, expected one", stack_.size()));
  return pop_value();
}

bool PickleMachine::step() {
  const auto op = in_.number<uint8_t>("an instruction");
  if (op == kStop) return false;
  if (step_container(op) || step_memo(op) || step_call(op)) return true;
  step_number(op);
  return true;
}

void PickleMachine::step_number(uint8_t op) {
  switch (op) {
    case kProto:
      if (const auto version = in_.number<uint8_t>("the protocol"); version > 5) unsupported(fmt::format("protocol {}", version));
      break;
    case kFrame: in_.bytes(8, "a frame's length"); break;
    case kNone: push_value({}); break;
    case kNewTrue: push_value(true); break;
    case kNewFalse: push_value(false); break;
    case kBinInt: push_value(static_cast<int64_t>(in_.number<int32_t>("a number"))); break;
    case kBinInt1: push_value(static_cast<int64_t>(in_.number<uint8_t>("a number"))); break;
    case kBinInt2: push_value(static_cast<int64_t>(in_.number<uint16_t>("a number"))); break;
    case kLong1: {
      const auto n = in_.number<uint8_t>("a number's length");
      if (n > 8) unsupported(fmt::format("a number of {} bytes", n));
      const auto bytes = in_.bytes(n, "a number");
      uint64_t x = n > 0 && (static_cast<uint8_t>(bytes[n - 1]) & 0x80) ? ~uint64_t{0} : 0;
      for (size_t i = n; i-- > 0;) x = (x << 8) | static_cast<uint8_t>(bytes[i]);
      push_value(static_cast<int64_t>(x));
      break;
    }
    case kBinFloat: push_value(std::bit_cast<double>(__builtin_bswap64(in_.number<uint64_t>("a number")))); break;
    case kBinUnicode: push_text(in_.number<uint32_t>("a text's length")); break;
    case kShortBinUnicode: push_text(in_.number<uint8_t>("a text's length")); break;
    default: unsupported(fmt::format("instruction {:#04x}", op));
  }
}

bool PickleMachine::step_container(uint8_t op) {
  switch (op) {
    case kMark: push({Mark{}, 0}); return true;
    case kEmptyList: push_value(TorchValue::List{}); return true;
    case kEmptyDict: push_value(TorchValue::Dict{}); return true;
    case kEmptyTuple: push({Tuple{}, 0}); return true;
    case kTuple1: push_tuple(1); return true;
    case kTuple2: push_tuple(2); return true;
    case kTuple3: push_tuple(3); return true;
    case kTuple: {
      std::vector<Item> items = pop_to_mark();
      const size_t n = items.size();
      for (Item& i : items) stack_.push_back(std::move(i));
      push_tuple(n);
      return true;
    }
    case kAppend: {
      std::vector<Item> one;
      one.push_back(pop());
      append(std::move(one));
      return true;
    }
    case kAppends: append(pop_to_mark()); return true;
    case kSetItem: {
      std::vector<Item> two(2);
      two[1] = pop();
      two[0] = pop();
      set(std::move(two));
      return true;
    }
    case kSetItems: set(pop_to_mark()); return true;
    default: return false;
  }
}

bool PickleMachine::step_memo(uint8_t op) {
  switch (op) {
    case kBinPut: put(in_.number<uint8_t>("a memo slot")); return true;
    case kLongBinPut: put(in_.number<uint32_t>("a memo slot")); return true;
    case kMemoize: put(next_memo_); return true;
    case kBinGet: get(in_.number<uint8_t>("a memo slot")); return true;
    case kLongBinGet: get(in_.number<uint32_t>("a memo slot")); return true;
    default: return false;
  }
}

bool PickleMachine::step_call(uint8_t op) {
  switch (op) {
    case kGlobal: {
      const std::string module = line();
      push_global(module, line());
      return true;
    }
    case kStackGlobal: {
      const std::string name = pop_text("a function's name");
      push_global(pop_text("a module's name"), name);
      return true;
    }
    case kBinPersId: push_storage(); return true;
    case kReduce: reduce(); return true;
    default: return false;
  }
}

void PickleMachine::push(Item item) {
  if (item.depth > kMostDepth) unsupported(fmt::format("values within values, more than {} deep", kMostDepth));
  stack_.push_back(std::move(item));
}

PickleMachine::Item PickleMachine::pop() {
  if (stack_.empty() || std::holds_alternative<Mark>(stack_.back().value)) corrupt("a value is missing");
  Item item = std::move(stack_.back());
  stack_.pop_back();
  return item;
}

// Tuples are lists to whoever reads the file.
TorchValue PickleMachine::to_value(Item item) const {
  if (auto* v = std::get_if<TorchValue>(&item.value)) return std::move(*v);
  auto* tuple = std::get_if<Tuple>(&item.value);
  if (!tuple) corrupt("a function stands where a value belongs");
  TorchValue::List list;
  for (Item& i : *tuple) list.push_back(to_value(std::move(i)));
  return list;
}

TorchValue PickleMachine::pop_value() { return to_value(pop()); }

std::string PickleMachine::pop_text(const char* what) {
  const TorchValue v = pop_value();
  const auto* text = v.as<std::string>();
  if (!text) corrupt(fmt::format("{} is no text", what));
  return *text;
}

std::vector<PickleMachine::Item> PickleMachine::pop_to_mark() {
  size_t at = stack_.size();
  while (at > 0 && !std::holds_alternative<Mark>(stack_[at - 1].value)) --at;
  if (at == 0) corrupt("a mark is missing");
  std::vector<Item> items(std::make_move_iterator(stack_.begin() + static_cast<int64_t>(at)),
                          std::make_move_iterator(stack_.end()));
  stack_.resize(at - 1);
  return items;
}

void PickleMachine::push_tuple(size_t n) {
  Tuple tuple(n);
  int depth = 0;
  for (size_t i = n; i-- > 0;) {
    tuple[i] = pop();
    depth = std::max(depth, tuple[i].depth);
  }
  push({std::move(tuple), depth + 1});
}

void PickleMachine::push_text(uint64_t length) { push_value(std::string(as_text(in_.bytes(length, "a text")))); }

void PickleMachine::put(uint64_t slot) {
  if (stack_.empty()) corrupt("nothing to remember");
  ++next_memo_;
  const Item& top = stack_.back();
  // Only what cannot change and holds nothing is remembered: enough for names and functions, which are all that real files share.
  const auto* v = std::get_if<TorchValue>(&top.value);
  if (std::holds_alternative<Global>(top.value) || (v && v->as<std::string>())) memo_[slot] = top;
  else memo_.erase(slot);
}

void PickleMachine::get(uint64_t slot) {
  const auto it = memo_.find(slot);
  if (it == memo_.end()) unsupported(fmt::format("a value in two places (memo {})", slot));
  push(it->second);
}

void PickleMachine::append(std::vector<Item> items) {
  auto* v = stack_.empty() ? nullptr : std::get_if<TorchValue>(&stack_.back().value);
  auto* list = v ? v->as<TorchValue::List>() : nullptr;
  if (!list) corrupt("appends to something that is no list");
  for (Item& i : items) {
    stack_.back().depth = std::max(stack_.back().depth, i.depth + 1);
    list->push_back(to_value(std::move(i)));
  }
  if (stack_.back().depth > kMostDepth) unsupported(fmt::format("values within values, more than {} deep", kMostDepth));
}

void PickleMachine::set(std::vector<Item> items) {
  auto* v = stack_.empty() ? nullptr : std::get_if<TorchValue>(&stack_.back().value);
  auto* dict = v ? v->as<TorchValue::Dict>() : nullptr;
  if (!dict) corrupt("sets an item of something that is no dict");
  if (items.size() % 2 != 0) corrupt("a key without a value");
  for (size_t i = 0; i < items.size(); i += 2) {
    stack_.back().depth = std::max({stack_.back().depth, items[i].depth + 1, items[i + 1].depth + 1});
    TorchValue key = to_value(std::move(items[i]));
    if (!key.as<std::string>() && !key.as<int64_t>()) unsupported("a dict whose keys are neither texts nor numbers");
    dict->emplace_back(std::move(key), to_value(std::move(items[i + 1])));
  }
  if (stack_.back().depth > kMostDepth) unsupported(fmt::format("values within values, more than {} deep", kMostDepth));
}

std::string PickleMachine::line() {
  std::string out;
  for (;;) {
    const auto c = in_.number<char>("a name");
    if (c == '\n') return out;
    if (out.size() >= 200) corrupt("a name does not end");
    out += c;
  }
}

void PickleMachine::push_global(const std::string& module, const std::string& name) {
  const std::string full = module + "." + name;
  Global g{};
  if (full == "torch._utils._rebuild_tensor_v2") g = Global::kRebuildTensor;
  else if (full == "collections.OrderedDict") g = Global::kOrderedDict;
  else if (full == "torch.FloatStorage") g = Global::kFloat;
  else if (full == "torch.HalfStorage") g = Global::kHalf;
  else if (full == "torch.BFloat16Storage") g = Global::kBFloat16;
  else unsupported(fmt::format("a call of {}", printable(full)));
  push({g, 0});
}

int64_t PickleMachine::integer(const Item& item, const char* what) const {
  const auto* v = std::get_if<TorchValue>(&item.value);
  const auto* n = v ? v->as<int64_t>() : nullptr;
  if (!n || *n < 0) corrupt(fmt::format("{} is no whole number from 0", what));
  return *n;
}

std::vector<int64_t> PickleMachine::integers(const Item& item, const char* what) const {
  const auto* tuple = std::get_if<Tuple>(&item.value);
  if (!tuple || tuple->size() > 8) corrupt(fmt::format("{} is no tuple of at most 8 numbers", what));
  std::vector<int64_t> out;
  for (const Item& i : *tuple) out.push_back(integer(i, what));
  return out;
}

void PickleMachine::push_storage() {
  Item item = pop();
  auto* tuple = std::get_if<Tuple>(&item.value);
  if (!tuple || tuple->size() != 5) corrupt("a storage is no tuple of 5");
  const auto text = [&](size_t i) {
    const auto* v = std::get_if<TorchValue>(&(*tuple)[i].value);
    const auto* s = v ? v->as<std::string>() : nullptr;
    if (!s) corrupt("a storage's name is no text");
    return *s;
  };
  if (text(0) != "storage") corrupt("a persistent value is no storage");
  StorageName s{DType::kF32, text(2), integer((*tuple)[4], "a storage's length")};
  const auto* type = std::get_if<Global>(&(*tuple)[1].value);
  if (type && *type == Global::kHalf) s.dtype = DType::kF16;
  else if (type && *type == Global::kBFloat16) s.dtype = DType::kBF16;
  else if (!type || *type != Global::kFloat) corrupt("a storage's type is none");
  push({std::move(s), 0});
}

// function, arguments -> what it makes.
void PickleMachine::reduce() {
  const Item arguments = pop(), function = pop();
  const auto* tuple = std::get_if<Tuple>(&arguments.value);
  const auto* global = std::get_if<Global>(&function.value);
  if (!tuple || !global) corrupt("a call without a function or its arguments");
  if (*global == Global::kOrderedDict) {
    if (!tuple->empty()) unsupported("an ordered dict made from a list");
    return push_value(TorchValue::Dict{});
  }
  if (*global != Global::kRebuildTensor) corrupt("a call of a type");
  if (tuple->size() < 4) corrupt("a tensor with too few arguments");
  const auto* storage = std::get_if<StorageName>(&(*tuple)[0].value);
  if (!storage) corrupt("a tensor without a storage");
  push_value(load_({*storage, integer((*tuple)[1], "a tensor's offset"), integers((*tuple)[2], "a tensor's shape"),
                    integers((*tuple)[3], "a tensor's strides")}));
}

}  // namespace microtome::internal
