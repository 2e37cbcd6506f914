# Run at every build (cmake -P): writes the commit the program is built from, only when it changed.
execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse HEAD OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
execute_process(COMMAND git -C ${SOURCE_DIR} diff HEAD OUTPUT_VARIABLE diff ERROR_QUIET)
set(dirty false)
set(digest "")
if(NOT "${diff}" STREQUAL "")
  set(dirty true)
  string(SHA256 digest "${diff}")
endif()
set(text "#pragma once
namespace sage {
inline constexpr const char* kVersion = \"${VERSION}\";
inline constexpr const char* kCommit = \"${commit}\";
inline constexpr bool kCommitDirty = ${dirty};
inline constexpr const char* kDiffDigest = \"${digest}\";
}  // namespace sage
")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
  file(WRITE ${OUTPUT} "${text}")
endif()
