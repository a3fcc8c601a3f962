# Fuzzing: with -DMICROTOME_FUZZ=ON the whole build is instrumented, which takes clang and a build folder of its own; `make
# fuzz` makes it. Included before the first target, because it sets the compiler's flags; fuzz/CMakeLists.txt adds the programs.
option(MICROTOME_FUZZ "Build the fuzzers (needs clang)" OFF)

if(MICROTOME_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "MICROTOME_FUZZ needs clang: `make fuzz` configures it, or set CXX=clang++-14 for a new build folder")
  endif()
  # -O1: the instrumented SIMD kernels take minutes a file at -O2.
  add_compile_options(-O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
endif()
