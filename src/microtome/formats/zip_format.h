// Numbers of the zip format (PKWARE's APPNOTE 6.3, sections 4.3 and 4.5).
#pragma once

#include <cstddef>
#include <cstdint>

namespace microtome::zip {

inline constexpr uint32_t kLocalSignature = 0x04034b50, kDescriptorSignature = 0x08074b50, kEntrySignature = 0x02014b50;
inline constexpr uint32_t kEndSignature = 0x06054b50, kEnd64Signature = 0x06064b50, kLocatorSignature = 0x07064b50;
// Without names, extra fields and comments.
inline constexpr size_t kLocalBytes = 30, kEntryBytes = 46, kEndBytes = 22;
inline constexpr uint16_t kZip64Extra = 1, kStored = 0, kDeflated = 8;
inline constexpr uint16_t kSizesFollow = 1 << 3, kUtf8Name = 1 << 11;
// What a 32-bit field holds whose value is in the zip64 field.
inline constexpr uint64_t kMax32 = 0xffff'ffff;

}  // namespace microtome::zip
