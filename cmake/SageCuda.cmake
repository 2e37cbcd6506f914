# Finds CUDA. Afterwards SAGE_HAVE_CUDA says whether the device backend is built, and sage_cuda_options holds nvcc's options.
#
#   SAGE_CUDA=AUTO|ON|OFF       AUTO builds it where nvcc is found; ON without nvcc is an error, and so is a named nvcc that is not one
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
  set(named_by "")
  if(CMAKE_CUDA_COMPILER)
    set(named_by CMAKE_CUDA_COMPILER)
    set(nvcc ${CMAKE_CUDA_COMPILER})
  elseif(NOT "$ENV{CUDACXX}" STREQUAL "")
    set(named_by CUDACXX)
    set(nvcc $ENV{CUDACXX})
    find_program(path ${nvcc} NO_CACHE)
    if(path)
      set(nvcc ${path})
    endif()
  else()
    # check_language(CUDA) finds nothing where nvcc is not on PATH, though enable_language then would.
    if(SAGE_NVCC AND NOT EXISTS ${SAGE_NVCC})
      unset(SAGE_NVCC CACHE)
    endif()
    find_program(SAGE_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    set(nvcc ${SAGE_NVCC})
    foreach(variable CUDA_HOME CUDA_PATH)
      if(NOT "$ENV{${variable}}" STREQUAL "" AND NOT EXISTS $ENV{${variable}}/bin/nvcc)
        message(WARNING "${variable}: found '$ENV{${variable}}', which has no bin/nvcc; expected the folder of a CUDA toolkit; correct or unset it. "
                        "Looked on, and found ${SAGE_NVCC}")
      endif()
    endforeach()
  endif()
  set(reason "no nvcc")
  if(nvcc)
    execute_process(COMMAND ${nvcc} --version OUTPUT_VARIABLE version ERROR_VARIABLE version RESULT_VARIABLE failed)
    string(REGEX MATCH "release ([0-9]+\\.[0-9]+)" version "${version}")
    set(version ${CMAKE_MATCH_1})
    if(failed OR NOT version)
      set(reason "${nvcc} does not run as nvcc")
    elseif(version VERSION_LESS oldest_cuda)
      set(reason "${nvcc} is of CUDA ${version}, older than ${oldest_cuda}")
    else()
      set(SAGE_HAVE_CUDA ON)
      set(CMAKE_CUDA_COMPILER ${nvcc})
      # Later configurations, without CUDACXX in their environment, take the same one.
      set(SAGE_NVCC ${nvcc} CACHE FILEPATH "nvcc" FORCE)
    endif()
  endif()
  if(NOT SAGE_HAVE_CUDA)
    string(CONCAT remedy "expected nvcc of CUDA ${oldest_cuda} or newer; set CUDACXX to nvcc (its options go to CUDAFLAGS) or CUDA_HOME to "
                         "the toolkit's folder, or configure with -DSAGE_CUDA=OFF")
    if(named_by)
      message(FATAL_ERROR "${named_by}: ${reason}; ${remedy}")
    elseif(SAGE_CUDA STREQUAL "ON")
      message(FATAL_ERROR "SAGE_CUDA=ON: ${reason}; ${remedy}")
    elseif(nvcc)
      message(WARNING "The CUDA backend is left out: ${reason}; ${remedy}")
    endif()
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
# CMake 3.25 marks this library as outdated, and stops where the toolkit (12.9 and newer) does not have it any more.
if(NOT TARGET CUDA::nvToolsExt)
  add_library(CUDA::nvToolsExt INTERFACE IMPORTED)
endif()
find_package(CUDAToolkit REQUIRED)

# Kernels that spill registers or keep arrays in local memory do not compile. ptxas's report of every kernel goes to a file beside the
# object (scripts/compile_cuda.sh), for scripts/ptxas_table.py; device code stays uncompressed in it, for scripts/sass_stat.py.
set(sage_cuda_options -Xptxas=-v,--warn-on-spills,--warn-on-local-memory-usage,-Werror -no-compress
                      -Xcompiler=-Wall)
set(CMAKE_CUDA_COMPILER_LAUNCHER ${PROJECT_SOURCE_DIR}/scripts/compile_cuda.sh ${CMAKE_CXX_COMPILER_LAUNCHER})

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
