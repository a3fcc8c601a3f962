# One folder of src/microtome = one target. A target sees only the headers of the folders it links (each folder is exposed
# through a tree of its own), so an include that points upwards fails to build.
#
#   microtome_layer(base PUBLIC fmt::fmt PRIVATE Threads::Threads)
#
# All *.cc of the folder are compiled in; names of other folders are given as microtome_<folder>.
function(microtome_layer NAME)
  cmake_parse_arguments(ARG "" "" "PUBLIC;PRIVATE" ${ARGN})
  set(target microtome_${NAME})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  # In one place for every build folder, so that a compiler cache serves them all.
  set(include_root ${CMAKE_SOURCE_DIR}/build/include/${NAME})
  file(MAKE_DIRECTORY ${include_root}/microtome)
  file(CREATE_LINK ${CMAKE_CURRENT_SOURCE_DIR} ${include_root}/microtome/${NAME} SYMBOLIC)
  if(sources)
    add_library(${target} STATIC ${sources})
    target_include_directories(${target} PUBLIC ${include_root})
    target_link_libraries(${target} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE ${include_root})
    target_link_libraries(${target} INTERFACE ${ARG_PUBLIC} ${ARG_PRIVATE})
  endif()
endfunction()

# tests/<NAME>/*.cc -> one program test_<NAME>, linked with the layer it tests and what else it names.
function(microtome_tests NAME)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${NAME}/*.cc)
  if(NOT sources)
    return()
  endif()
  add_executable(test_${NAME} ${sources})
  target_link_libraries(test_${NAME} PRIVATE ${ARGN} GTest::gtest_main)
  target_compile_definitions(test_${NAME} PRIVATE MICROTOME_TEST_DATA="${CMAKE_CURRENT_SOURCE_DIR}")
  add_test(NAME ${NAME} COMMAND test_${NAME} --gtest_brief=0 WORKING_DIRECTORY ${CMAKE_BINARY_DIR})
endfunction()
