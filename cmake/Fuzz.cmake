# Fuzzers: fuzz/<name>.cc -> one libFuzzer program fuzz_<name>, with the whole of microtome instrumented.
#
#   include(cmake/Fuzz.cmake)                            # before the first target: it sets the compiler's flags
#   microtome_fuzzer(formats_gguf microtome_formats)     # fuzz/formats_gguf.cc, then what it links
#
# Only with -DMICROTOME_FUZZ=ON, clang and a build folder of its own (`make fuzz` sees to it); else nothing is added. Seeds lie
# in fuzz/seeds/<name>/. The target `fuzzers` builds them all.
option(MICROTOME_FUZZ "Build the fuzzers (needs clang)" OFF)

if(MICROTOME_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "MICROTOME_FUZZ needs clang: `make fuzz` configures it, or set CXX=clang++-14 for a new build folder")
  endif()
  # -O1: the instrumented SIMD kernels take minutes a file at -O2.
  add_compile_options(-O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
  add_link_options(-fsanitize=address,undefined)
  add_custom_target(fuzzers)

  # Three SIMD files take clang up to ten minutes each when instrumented, and read no untrusted bytes.
  function(microtome_spare_simd)
    set_source_files_properties(
      src/microtome/kernels/gemm_highway.cc src/microtome/kernels/attention_dots.cc src/microtome/kernels/activation.cc
      TARGET_DIRECTORY microtome_kernels PROPERTIES COMPILE_OPTIONS -fno-sanitize=all)
  endfunction()
  cmake_language(DEFER CALL microtome_spare_simd)
endif()

function(microtome_fuzzer NAME)
  if(NOT MICROTOME_FUZZ)
    return()
  endif()
  add_executable(fuzz_${NAME} ${CMAKE_SOURCE_DIR}/fuzz/${NAME}.cc)
  target_link_libraries(fuzz_${NAME} PRIVATE ${ARGN})
  target_link_options(fuzz_${NAME} PRIVATE -fsanitize=fuzzer)
  add_dependencies(fuzzers fuzz_${NAME})
endfunction()
