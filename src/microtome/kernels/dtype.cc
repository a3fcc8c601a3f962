#include "microtome/kernels/dtype.h"

namespace microtome {
namespace {

struct Row {
  const char* name;
  int block_size, block_bytes;
};

constexpr Row kRows[] = {
    {"F32", 1, 4},  {"F16", 1, 2},    {"BF16", 1, 2},   {"F64", 1, 8},    {"I8", 1, 1},  {"U8", 1, 1},
    {"BOOL", 1, 1}, {"I16", 1, 2},    {"U16", 1, 2},    {"I32", 1, 4},    {"U32", 1, 4}, {"I64", 1, 8},
    {"U64", 1, 8},  {"Q4_0", 32, 18}, {"Q4_1", 32, 20}, {"Q8_0", 32, 34},
};

}  // namespace

const char* dtype_name(DType type) { return kRows[static_cast<int>(type)].name; }
int64_t dtype_block_size(DType type) { return kRows[static_cast<int>(type)].block_size; }
int64_t dtype_block_bytes(DType type) { return kRows[static_cast<int>(type)].block_bytes; }

}  // namespace microtome
