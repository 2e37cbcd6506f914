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

# sage_test(AREA [LINK lib...] [LABELS label...]): one GoogleTest program of all .cpp files of the current folder, one CTest
# entry per test. Tests find their committed data below SAGE_TEST_DATA.
function(sage_test area)
  cmake_parse_arguments(ARG "" "" "LINK;LABELS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cpp)
  add_executable(sage_test_${area} ${sources})
  target_link_libraries(sage_test_${area} PRIVATE ${ARG_LINK} GTest::gtest GTest::gtest_main)
  target_compile_definitions(sage_test_${area} PRIVATE SAGE_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  gtest_discover_tests(sage_test_${area} TEST_PREFIX "${area}." PROPERTIES LABELS "${ARG_LABELS}" DISCOVERY_TIMEOUT 60)
endfunction()
