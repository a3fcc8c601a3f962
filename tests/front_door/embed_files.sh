#!/usr/bin/env bash
# Embedded files come back byte for byte with path, media type and size, and follow what changes in the folder.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/page/assets"
echo '<!doctype html>' >"$work/page/index.html"
seq 1 5000 >"$work/page/assets/app-1a.js"
: >"$work/page/empty.bin"
: >"$work/page/.hidden"
cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(embed CXX)
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_BUILD_TYPE Release)
add_compile_options(-Wall -Wextra -Werror)
include($root/cmake/EmbedFiles.cmake)
microtome_embed_files(page DIRECTORY \${CMAKE_SOURCE_DIR}/page)
microtome_embed_files(nothing)
add_executable(list list.cc)
target_link_libraries(list page)
add_executable(list_nothing list.cc)
target_link_libraries(list_nothing nothing)
END
cat >"$work/list.cc" <<'END'
#include <cstdio>

#include "microtome/embedded_files.h"

// Lists the files, or writes the one that is named.
int main(int argc, char** argv) {
  for (const microtome::EmbeddedFile& file : microtome::embedded_files()) {
    if (argc < 2) {
      std::printf("%.*s %zu %.*s\n", int(file.path.size()), file.path.data(), file.size, int(file.mime.size()), file.mime.data());
    } else if (file.path == argv[1]) {
      std::fwrite(file.gzip.data(), 1, file.gzip.size(), stdout);
    }
  }
}
END
build() { cmake -S "$work" -B "$work/build" -G Ninja >"$work/log" 2>&1 && ninja -C "$work/build" >>"$work/log" 2>&1 || cat "$work/log"; }
verdict() { if [ "$2" = "$3" ]; then echo "ok $1"; else echo "not ok $1: $2"; fi; }

build
verdict lists_path_size_and_media_type "$("$work/build/list")" "/assets/app-1a.js 23893 text/javascript; charset=utf-8
/empty.bin 0 application/octet-stream
/index.html 16 text/html; charset=utf-8"
verdict holds_the_same_bytes "$("$work/build/list" /assets/app-1a.js | gunzip | sha256sum)" "$(sha256sum <"$work/page/assets/app-1a.js")"
verdict is_empty_without_a_folder "$("$work/build/list_nothing"; echo $?)" 0

rm "$work/page/empty.bin"
echo 'body {}' >"$work/page/style.css"
echo 'changed' >"$work/page/index.html"
build
verdict follows_added_removed_and_changed_files "$("$work/build/list") $("$work/build/list" /index.html | gunzip)" \
  "/assets/app-1a.js 23893 text/javascript; charset=utf-8
/index.html 8 text/html; charset=utf-8
/style.css 8 text/css; charset=utf-8 changed"
