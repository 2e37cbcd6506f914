# sage_library(NAME [LINK lib...]): a static library of all .cpp files of the current folder (not below it).
function(sage_library name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  if(NOT sources)
    message(FATAL_ERROR "${CMAKE_CURRENT_SOURCE_DIR}: no .cpp file for library ${name}")
  endif()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_LINK})
endfunction()

# Machines that tests also stand for, besides this one: sums of products round differently with each set of instructions, and no
# test may depend on how. OpenBLAS crashes with instructions that are not there.
set(SAGE_MACHINES "")
if(CMAKE_SYSTEM_PROCESSOR STREQUAL "x86_64" AND NOT SAGE_SANITIZE)
  set(SAGE_MACHINES without_avx)
  set(sage_machine_without_avx "OPENBLAS_CORETYPE=Prescott;SAGEPTQ_CPU_KERNELS=portable")
  file(STRINGS /proc/cpuinfo sage_avx2 REGEX "^flags.* avx2 .*" LIMIT_COUNT 1)
  if(sage_avx2)
    list(APPEND SAGE_MACHINES with_avx2)
    set(sage_machine_with_avx2 "OPENBLAS_CORETYPE=Haswell;SAGEPTQ_CPU_KERNELS=avx2")
  endif()
endif()

# sage_test(AREA [LINK lib...] [LABELS label...] [RACES filter] [RANDOM_ORDER filter] [MACHINES filter]): one GoogleTest program of all .cpp files of the current folder, one
# CTest entry per test. Tests find their committed data below SAGE_TEST_DATA.
#
# RACES: a program that executes CUDA kernels. Of its tests, a build with ThreadSanitizer runs those that match the filter, in few
# entries: starting takes longer than most tests.
# RANDOM_ORDER: tests that run three times more with CUDA threads and blocks in random order, on which no result may depend.
# MACHINES: tests that run once more as each of SAGE_MACHINES.
function(sage_test area)
  cmake_parse_arguments(ARG "" "RACES;RANDOM_ORDER;MACHINES" "LINK;LABELS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  add_executable(sage_test_${area} ${sources})
  target_link_libraries(sage_test_${area} PRIVATE ${ARG_LINK} GTest::gtest GTest::gtest_main)
  target_compile_definitions(sage_test_${area} PRIVATE SAGE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  if(ARG_RACES AND SAGE_SANITIZE MATCHES "thread")
    set(shards 3)
    math(EXPR last "${shards} - 1")
    foreach(shard RANGE ${last})
      add_test(NAME ${area}.races_${shard} COMMAND sage_test_${area} --gtest_filter=${ARG_RACES} --gtest_brief=1)
      # What OpenBLAS and the OpenMP runtime order among themselves is not seen, and would look like races.
      set_tests_properties(${area}.races_${shard} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600 FAIL_REGULAR_EXPRESSION " 0 tests from"
                           ENVIRONMENT "GTEST_TOTAL_SHARDS=${shards};GTEST_SHARD_INDEX=${shard};TSAN_OPTIONS=ignore_noninstrumented_modules=1")
    endforeach()
    return()
  endif()
  if(ARG_RANDOM_ORDER AND NOT SAGE_SANITIZE)
    foreach(seed 1 2 3)
      add_test(NAME ${area}.random_order_${seed} COMMAND sage_test_${area} --gtest_filter=${ARG_RANDOM_ORDER} --gtest_brief=1)
      set_tests_properties(${area}.random_order_${seed} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600 FAIL_REGULAR_EXPRESSION " 0 tests from"
                           ENVIRONMENT "KX_ORDER=random;KX_SEED=${seed}")
    endforeach()
  endif()
  if(ARG_MACHINES)
    foreach(machine ${SAGE_MACHINES})
      add_test(NAME ${area}.${machine} COMMAND sage_test_${area} --gtest_filter=${ARG_MACHINES} --gtest_brief=1)
      set_tests_properties(${area}.${machine} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 600 FAIL_REGULAR_EXPRESSION " 0 tests from"
                           ENVIRONMENT "${sage_machine_${machine}}")
    endforeach()
  endif()
  gtest_discover_tests(sage_test_${area} TEST_PREFIX "${area}." PROPERTIES LABELS "${ARG_LABELS}" DISCOVERY_TIMEOUT 60)
endfunction()
