# Embeds a folder (the built page) into the program: each file gzip-compressed, byte for byte, without copying it through
# generated C++ literals (which take minutes to compile).
#
#   include(${CMAKE_SOURCE_DIR}/cmake/EmbedFiles.cmake)
#   microtome_embed_files(microtome_embedded DIRECTORY ${CMAKE_SOURCE_DIR}/web/dist)
#   target_link_libraries(microtome_server PRIVATE microtome_embedded)      # #include "microtome/embedded_files.h"
#
# Files added, removed or changed later are picked up by the next build. Without DIRECTORY, the list is empty. One such
# target per program.
set(MICROTOME_EMBED_ROOT ${CMAKE_CURRENT_LIST_DIR}/embed)

# The media type that a file is served with, from its extension.
function(microtome_media_type FILE RESULT)
  set(types
      html text/html css text/css js text/javascript mjs text/javascript json application/json map application/json
      svg image/svg+xml png image/png jpg image/jpeg ico image/x-icon webp image/webp woff2 font/woff2
      wasm application/wasm webmanifest application/manifest+json txt text/plain md text/markdown)
  cmake_path(GET FILE EXTENSION LAST_ONLY extension)
  string(TOLOWER "${extension}" extension)
  string(REGEX REPLACE "^\\." "" extension "${extension}")
  set(${RESULT} "application/octet-stream" PARENT_SCOPE)
  while(types)
    list(POP_FRONT types known type)
    if(extension STREQUAL known)
      if(type MATCHES "^text/")
        string(APPEND type "; charset=utf-8")
      endif()
      set(${RESULT} "${type}" PARENT_SCOPE)
      return()
    endif()
  endwhile()
endfunction()

function(microtome_embed_files TARGET)
  cmake_parse_arguments(ARG "" "DIRECTORY" "" ${ARGN})
  set(work ${CMAKE_CURRENT_BINARY_DIR}/${TARGET})
  set(files)
  if(ARG_DIRECTORY)
    if(NOT IS_DIRECTORY ${ARG_DIRECTORY})
      message(FATAL_ERROR "${ARG_DIRECTORY} is missing: `make build` makes it; -DMICROTOME_WEB=OFF builds without the page")
    endif()
    file(GLOB_RECURSE files RELATIVE ${ARG_DIRECTORY} CONFIGURE_DEPENDS ${ARG_DIRECTORY}/*)
    list(FILTER files EXCLUDE REGEX "(^|/)\\.")
    list(SORT files)
  endif()

  set(EMBED_BYTES "")
  set(EMBED_SYMBOLS "")
  set(EMBED_ENTRIES "")
  set(packed_files)
  set(index 0)
  foreach(file IN LISTS files)
    set(packed ${work}/${index}.gz)
    # -n: neither name nor time, so that the same bytes give the same program.
    add_custom_command(
      OUTPUT ${packed}
      COMMAND gzip -9 -n -c "${ARG_DIRECTORY}/${file}" > "${packed}"
      DEPENDS "${ARG_DIRECTORY}/${file}"
      COMMENT "Compressing ${file}"
      VERBATIM)
    microtome_media_type("${file}" type)
    string(APPEND EMBED_BYTES "    MICROTOME_EMBED(\"${index}\", \"${packed}\")\n")
    string(APPEND EMBED_SYMBOLS "extern const unsigned char embedded_${index}[];\nextern const uint64_t embedded_${index}_size;\n")
    string(APPEND EMBED_ENTRIES "      entry(\"/${file}\", \"${type}\", embedded_${index}, embedded_${index}_size),\n")
    list(APPEND packed_files ${packed})
    math(EXPR index "${index} + 1")
  endforeach()

  set(EMBED_COUNT ${index})
  file(MAKE_DIRECTORY ${work})
  configure_file(${MICROTOME_EMBED_ROOT}/embedded_files.cc.in ${work}/embedded_files.cc @ONLY)
  set_source_files_properties(${work}/embedded_files.cc PROPERTIES OBJECT_DEPENDS "${packed_files}")
  add_library(${TARGET} STATIC ${work}/embedded_files.cc)
  target_include_directories(${TARGET} PUBLIC ${MICROTOME_EMBED_ROOT}/include)
endfunction()
