# Run at every build (cmake -P): writes what the program is built from, only when it changed.
#
#   kCommit, kCommitDirty, kDiffDigest   git's HEAD; whether the tree differs; SHA-256 of the difference and of the files below the
#                                        program's folders that git does not know and does not ignore (a new component's)
#   kSourceDigest                        SHA-256 of the sources that decide numbers, with git or without
set(folders core kernels strategies results experiments analysis)

execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
execute_process(COMMAND git -C ${SOURCE_DIR} diff HEAD OUTPUT_VARIABLE diff ERROR_QUIET)
execute_process(COMMAND git -C ${SOURCE_DIR} -c core.quotepath=off ls-files --others --exclude-standard -- ${folders}
  OUTPUT_VARIABLE untracked OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
string(REPLACE ";" "\\;" untracked "${untracked}")
string(REPLACE "\n" ";" untracked "${untracked}")
foreach(name IN LISTS untracked)
  if(EXISTS "${SOURCE_DIR}/${name}")
    file(SHA256 "${SOURCE_DIR}/${name}" content)
    string(APPEND diff "untracked ${name} ${content}\n")
  endif()
endforeach()
set(dirty false)
set(digest "")
if(NOT "${diff}" STREQUAL "")
  set(dirty true)
  string(SHA256 digest "${diff}")
endif()

set(patterns "")
foreach(folder core kernels strategies experiments/engine)
  foreach(extension cpp h inl cu cuh)
    list(APPEND patterns ${SOURCE_DIR}/${folder}/*.${extension})
  endforeach()
endforeach()
file(GLOB_RECURSE sources RELATIVE ${SOURCE_DIR} ${patterns})
list(FILTER sources EXCLUDE REGEX "^kernels/bench/|(^|/)\\.")
list(APPEND sources CMakeLists.txt)
list(SORT sources)
set(all "")
foreach(name IN LISTS sources)
  file(SHA256 "${SOURCE_DIR}/${name}" content)
  string(APPEND all "${name} ${content}\n")
endforeach()
string(SHA256 source "${all}")

set(text "#pragma once
namespace sage {
inline constexpr const char* kVersion = \"${VERSION}\";
inline constexpr const char* kCommit = \"${commit}\";
inline constexpr bool kCommitDirty = ${dirty};
inline constexpr const char* kDiffDigest = \"${digest}\";
inline constexpr const char* kSourceDigest = \"${source}\";
}  // namespace sage
")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${OUTPUT} "${text}")
endif()
