# What runs the compilers: scripts/compile.sh, which takes ccache where it is, or the user's own launcher (CMAKE_CXX_COMPILER_LAUNCHER).
if(NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/scripts/compile.sh)
endif()
list(GET CMAKE_CXX_COMPILER_LAUNCHER 0 launcher)
find_program(found_launcher ${launcher} NO_CACHE)
if(NOT found_launcher)
  message(FATAL_ERROR "CMAKE_CXX_COMPILER_LAUNCHER: found '${launcher}', which is no program; expected the path of one; correct it, or unset it "
                      "(in the environment and in ${CMAKE_BINARY_DIR}/CMakeCache.txt): ccache is then used where it is installed")
endif()
unset(found_launcher)
