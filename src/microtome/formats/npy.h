// NumPy's .npy: one array in one file.
//
//   const NpyArray tokens = read_npy("tokens.npy");   // int32 [T]
//   const std::vector<int64_t> ids = tokens.integers();
//
//   "\x93NUMPY", u8 major, u8 minor, u16 (version 1) or u32 (2, 3) length of the header,
//   header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } padded with spaces, newline at the end; data
//
// Little-endian arrays of bool, (unsigned) integers and floats of 16 to 64 bits. Fortran order is turned into C order while
// reading. Thread rule: free functions without state.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "microtome/base/error.h"
#include "microtome/formats/checkpoint_tensor.h"

namespace microtome {

struct NpyArray {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;  // dense, row-major, aligned to its element

  int64_t size() const { return static_cast<int64_t>(data.size()) / dtype_block_bytes(dtype); }

  // The values as they are stored; sizeof(T) must be the element's size.
  template <class T>
  std::span<const T> as() const {
    MT_CHECK_EQ(static_cast<int64_t>(sizeof(T)), dtype_block_bytes(dtype));
    return {reinterpret_cast<const T*>(data.data()), data.size() / sizeof(T)};
  }

  // Any dtype as float (F64 and integers rounded to nearest), and integers of any width or bool as int64. Throws
  // kInvalidArgument for floats where integers are asked for, and for u64 over 2^63 - 1.
  std::vector<float> floats() const;
  std::vector<int64_t> integers() const;
};

// Where the data lies in a .npy file.
struct NpyHeader {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  bool fortran_order = false;
  size_t data_offset = 0;
  uint64_t data_bytes = 0;
};

// `where` begins every message. Throws kCorrupt (cut short, malformed, hostile), kUnsupported (big-endian, objects, text,
// structures, complex numbers). The data is not looked at.
NpyHeader read_npy_header(std::span<const std::byte> file, const std::string& where);

// Throws as above.
NpyArray parse_npy(std::span<const std::byte> file, const std::string& where);

// Throws also kNotFound, kIo.
NpyArray read_npy(const std::filesystem::path& path);

// Version 1, data beginning at a multiple of 64. Throws kUnsupported (BF16 and quantised blocks, which NumPy lacks),
// kInvalidArgument (a header over 65535 bytes).
std::string npy_header(DType dtype, const std::vector<int64_t>& shape);

// Atomically. `data` is dense and row-major. Throws kInvalidArgument (not the shape's size), kIo, and as npy_header.
void write_npy(const std::filesystem::path& path, DType dtype, const std::vector<int64_t>& shape,
               std::span<const std::byte> data);

}  // namespace microtome
