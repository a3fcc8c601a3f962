#include "microtome/formats/ggml_types.h"

#include <fmt/format.h>

namespace microtome {
namespace {

struct Row {
  uint32_t type;
  const char* name;
  std::optional<DType> dtype = {};
};

const Row kRows[] = {
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {30, "BF16", DType::kBF16},
    {2, "Q4_0", DType::kQ4_0},
    {3, "Q4_1", DType::kQ4_1},
    {8, "Q8_0", DType::kQ8_0},
    {28, "F64", DType::kF64},
    {24, "I8", DType::kI8},
    {25, "I16", DType::kI16},
    {26, "I32", DType::kI32},
    {27, "I64", DType::kI64},
    {4, "Q4_2"},
    {5, "Q4_3"},
    {6, "Q5_0"},
    {7, "Q5_1"},
    {9, "Q8_1"},
    {10, "Q2_K"},
    {11, "Q3_K"},
    {12, "Q4_K"},
    {13, "Q5_K"},
    {14, "Q6_K"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS"},
    {29, "IQ1_M"},
    {31, "Q4_0_4_4"},
    {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {36, "IQ4_NL_4_4"},
    {37, "IQ4_NL_4_8"},
    {38, "IQ4_NL_8_8"},
    {39, "MXFP4"},
};

}  // namespace

std::optional<DType> dtype_of_ggml_type(uint32_t type) {
  for (const Row& row : kRows) {
    if (row.type == type) return row.dtype;
  }
  return {};
}

std::optional<uint32_t> ggml_type_of_dtype(DType dtype) {
  for (const Row& row : kRows) {
    if (row.dtype == dtype) return row.type;
  }
  return {};
}

std::string ggml_type_text(uint32_t type) {
  for (const Row& row : kRows) {
    if (row.type == type) return fmt::format("{} (type {})", row.name, type);
  }
  return fmt::format("the unknown type {}", type);
}

std::string supported_ggml_types() {
  std::string text;
  for (const Row& row : kRows) {
    if (row.dtype) text += (text.empty() ? "" : ", ") + std::string(row.name);
  }
  return text;
}

}  // namespace microtome
