# Finds CUDA. Afterwards SAGE_HAVE_CUDA says whether the device backend is built, and sage_cuda_options holds nvcc's options.
#
#   SAGE_CUDA=AUTO|ON|OFF       AUTO builds it where nvcc is found; ON without nvcc is an error
#   SAGE_CUDA_ARCHITECTURES     as CMAKE_CUDA_ARCHITECTURES; one of them (say 89-real) shortens the build
#
# nvcc is looked for in CMAKE_CUDA_COMPILER, CUDACXX, CUDA_HOME, CUDA_PATH, PATH and /usr/local/cuda. The runtime is linked statically,
# cuBLAS is loaded when a device is taken, and the driver library is never linked: the program starts on machines without any.
set(SAGE_CUDA AUTO CACHE STRING "Build the CUDA backend: AUTO, ON or OFF")
set_property(CACHE SAGE_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SAGE_CUDA_ARCHITECTURES "80-real;86-real;89-real;90-real;90-virtual" CACHE STRING "What CUDA kernels are compiled for")
if(NOT SAGE_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "SAGE_CUDA: found '${SAGE_CUDA}'; expected AUTO, ON or OFF; configure with -DSAGE_CUDA=AUTO")
endif()

set(oldest_cuda 12.0)  # entry points of cuBLAS with 64-bit sizes
set(SAGE_HAVE_CUDA OFF)
set(reason "SAGE_CUDA=OFF")
if(SAGE_CUDA STREQUAL "OFF")
elseif(SAGE_SANITIZE OR SAGE_FUZZ)
  set(reason "sanitizers see host code only")
else()
  # check_language(CUDA) finds nothing where nvcc is not on PATH, though enable_language then would.
  if(NOT CMAKE_CUDA_COMPILER)
    find_program(SAGE_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(NOT "$ENV{CUDACXX}" STREQUAL "")
      set(CMAKE_CUDA_COMPILER $ENV{CUDACXX})
    elseif(SAGE_NVCC)
      set(CMAKE_CUDA_COMPILER ${SAGE_NVCC})
    endif()
  endif()
  set(reason "no nvcc")
  if(CMAKE_CUDA_COMPILER)
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version OUTPUT_VARIABLE version ERROR_VARIABLE version RESULT_VARIABLE failed)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" version "${version}")
    set(version ${CMAKE_MATCH_1})
    if(failed OR NOT version)
      set(reason "${CMAKE_CUDA_COMPILER} does not run")
    elseif(version VERSION_LESS oldest_cuda)
      set(reason "${CMAKE_CUDA_COMPILER} is of CUDA ${version}, older than ${oldest_cuda}")
    else()
      set(SAGE_HAVE_CUDA ON)
    endif()
  endif()
  if(SAGE_CUDA STREQUAL "ON" AND NOT SAGE_HAVE_CUDA)
    message(FATAL_ERROR "SAGE_CUDA=ON: ${reason}; expected nvcc of CUDA ${oldest_cuda} or newer; set CUDACXX to nvcc or CUDA_HOME to "
                        "the toolkit's folder, or configure with -DSAGE_CUDA=OFF")
  endif()
endif()

if(NOT SAGE_HAVE_CUDA)
  message(STATUS "CUDA backend: not built (${reason})")
  return()
endif()

set(CMAKE_CUDA_ARCHITECTURES ${SAGE_CUDA_ARCHITECTURES})
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake 3.25 does not know that nvcc 12 and newer take it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_EXTENSIONS OFF)
find_package(CUDAToolkit REQUIRED)

# Kernels that spill registers or keep arrays in local memory do not compile. ptxas's report of every kernel goes to a file beside the
# object (scripts/compile_cuda.sh), for scripts/ptxas_table.py; device code stays uncompressed in it, for scripts/sass_stat.py.
set(sage_cuda_options -Xptxas=-v,--warn-on-spills,--warn-on-local-memory-usage,-Werror -no-compress
                      -Xcompiler=-Wall)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/scripts/compile_cuda.sh ${CCACHE})

# "sm_80, sm_90 + PTX", for `sageptq doctor`
set(sage_cuda_architectures "")
set(ptx "")
foreach(architecture ${CMAKE_CUDA_ARCHITECTURES})
  if(architecture MATCHES "^([0-9]+[af]?)(-real)?$")
    list(APPEND sage_cuda_architectures sm_${CMAKE_MATCH_1})
  elseif(NOT architecture MATCHES "-virtual$")  # native, all, ...
    list(APPEND sage_cuda_architectures ${architecture})
  endif()
  if(NOT architecture MATCHES "-real$" AND NOT architecture STREQUAL "native")
    set(ptx " + PTX")
  endif()
endforeach()
list(JOIN sage_cuda_architectures ", " sage_cuda_architectures)
string(APPEND sage_cuda_architectures "${ptx}")
message(STATUS "CUDA backend: ${CMAKE_CUDA_COMPILER}, CUDA ${CUDAToolkit_VERSION}, ${sage_cuda_architectures}")
