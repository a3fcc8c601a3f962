// Tables of malformed files: each must be refused with one line of the expected kind, never crash, never be accepted.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "microtome/base/error.h"

namespace microtome {

// Runs `read` and checks that it throws an Error of `kind` in one line that contains `part`.
template <class Read>
void expect_error(ErrorKind kind, const std::string& part, Read read) {
  try {
    read();
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(to_string(e.kind()), std::string(to_string(kind))) << e.what();
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << "expected \"" << part << "\" in: " << e.what();
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
  }
}

// A little-endian number as bytes.
template <class T>
std::string le(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

}  // namespace microtome
