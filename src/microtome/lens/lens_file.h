// Fitted lenses on disk.
//
//   save_lens("tuned.safetensors", lens, LensStorage::kInt8);       // D bytes and one scale a row: 10 MB for 30 x 576 x 576
//   FittedLens lens = load_lens("tuned.safetensors");               // or a published Jacobian-lens file, .pt
//   export_jacobian("jacobian.pt", lens);                           // the published format
//
// Our format is safetensors: `layers.L.delta` [D, D] (I8 with `layers.L.scale` [D]: value = scale of its row * byte; or F32),
// `layers.L.bias` [D]; the metadata holds kind, model, model_sha256 (needed), n_prompts, fit. The published format is a PyTorch
// file {J: {layer: [D, D] f16}, n_prompts, source_layers, d_model, metadata}, or a fit's running sums {jacobian_sum, n_done};
// its metadata may hold model and model_sha256.
// Files are untrusted. Thread rule: free functions without state.
#pragma once

#include <filesystem>

#include "microtome/lens/fitted_lens.h"

namespace microtome {

enum class LensStorage : uint8_t { kF32, kInt8 };

// Atomically. Throws Io.
void save_lens(const std::filesystem::path& path, const FittedLens& lens, LensStorage storage);

// Throws NotFound, Corrupt, Unsupported, InvalidArgument (no lens).
FittedLens load_lens(const std::filesystem::path& path);

// Throws InvalidArgument for a tuned lens, which has no published single-file format.
void export_jacobian(const std::filesystem::path& path, const FittedLens& lens);

// What int8 keeps of a lens: each row of delta rounded to 255 steps of its largest value.
FittedLens rounded_to_int8(const FittedLens& lens);

}  // namespace microtome
