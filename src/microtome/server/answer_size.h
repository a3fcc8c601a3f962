// How large an answer would be, before anything is computed: one request must not take the memory of all.
#pragma once

#include "microtome/api/commands.h"

namespace microtome::server {

// Tokens that a lens answer would list, over all its cells. Throws FieldError above kMostLensTokens.
constexpr int64_t kMostLensTokens = 1'000'000;
void check_lens_size(const api::Context& context, const api::LensCommandOptions& options);

// Bytes of the arrays in a trace's answer. Throws FieldError above kMostTraceBytes.
constexpr int64_t kMostTraceBytes = int64_t{1} << 30;
void check_trace_size(const api::Context& context, const api::TraceOptions& options);

}  // namespace microtome::server
