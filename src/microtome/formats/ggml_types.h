// The numbers by which GGUF files name the types of tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "microtome/kernels/dtype.h"

namespace microtome {

// Nothing if microtome does not read that type.
std::optional<DType> dtype_of_ggml_type(uint32_t type);
// Nothing if GGUF has no number for it.
std::optional<uint32_t> ggml_type_of_dtype(DType dtype);

// "Q4_K (type 12)", or "the unknown type 99".
std::string ggml_type_text(uint32_t type);
// "F32, F16, ...": what microtome reads.
std::string supported_ggml_types();

}  // namespace microtome
