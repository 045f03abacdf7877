# conclave_add_plugin(<kind> <name> SOURCES a.cpp ...
#                     [TENSOR] [LIBRARIES lib ...] [OUTPUT_DIRECTORY dir]
#                     [TESTS test.cpp ... [TEST_LIBRARIES lib ...]])
#
# Builds <kind>-<name>.so as target plugin_<kind>_<name> (dashes become underscores): hidden symbols, only the entry
# exported, nothing undefined left.
#   TENSOR            the plugin exchanges at::Tensor with the host; its fingerprint then names torch and CUDA
#   LIBRARIES         what the plugin links, privately
#   OUTPUT_DIRECTORY  where the library goes; <build>/plugins by default
#   TESTS             GoogleTest sources, made into target plugin_<kind>_<name>_test: linked with the plugin's own objects
#                     and the test kit, registered with CTest. Left out when tests are off (CONCLAVE_TESTS in the host's
#                     tree, BUILD_TESTING elsewhere) or GoogleTest is missing
#
# The same in the host's tree and, after find_package(Conclave), in any other.
include_guard(GLOBAL)
include(GNUInstallDirs)
set(CONCLAVE_PLUGIN_VERSION_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

function(conclave_add_plugin kind name)
  cmake_parse_arguments(arg "TENSOR" "OUTPUT_DIRECTORY" "SOURCES;LIBRARIES;TESTS;TEST_LIBRARIES" ${ARGN})
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "conclave_add_plugin(${kind} ${name}): no SOURCES, or unknown arguments: ${arg_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT arg_OUTPUT_DIRECTORY)
    set(arg_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/plugins)
  endif()
  string(REPLACE "-" "_" target "plugin_${kind}_${name}")
  set(libraries conclave::sdk ${arg_LIBRARIES})
  if(arg_TENSOR)
    list(APPEND libraries conclave::tensor)
  endif()

  # Compiled once, for the library and its test.
  add_library(${target}_objects OBJECT ${arg_SOURCES})
  set_target_properties(${target}_objects PROPERTIES POSITION_INDEPENDENT_CODE ON
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
  target_include_directories(${target}_objects PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_features(${target}_objects PRIVATE cxx_std_20)
  target_compile_definitions(${target}_objects PRIVATE $<$<BOOL:${arg_TENSOR}>:CONCLAVE_PLUGIN_TENSOR>)
  target_link_libraries(${target}_objects PRIVATE ${libraries})
  if(TARGET conclave_warnings)
    target_link_libraries(${target}_objects PRIVATE conclave_warnings)
  endif()

  add_library(${target} MODULE $<TARGET_OBJECTS:${target}_objects>)
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME "${kind}-${name}" LINKER_LANGUAGE CXX
    LIBRARY_OUTPUT_DIRECTORY ${arg_OUTPUT_DIRECTORY})
  target_link_libraries(${target} PRIVATE ${libraries})
  target_link_options(${target} PRIVATE LINKER:--version-script=${CONCLAVE_PLUGIN_VERSION_SCRIPT} LINKER:--exclude-libs,ALL)
  if(NOT CONCLAVE_SANITIZE) # a sanitizer's run-time symbols come from the executable
    target_link_options(${target} PRIVATE LINKER:-z,defs)
  endif()

  if(arg_OUTPUT_DIRECTORY STREQUAL "${CMAKE_BINARY_DIR}/plugins") # one that goes elsewhere is not for users
    set_property(GLOBAL APPEND PROPERTY CONCLAVE_PLUGINS ${target})
    set_target_properties(${target} PROPERTIES INSTALL_RPATH "$ORIGIN/../..;${CONCLAVE_TORCH_LIB_DIR}")
    install(TARGETS ${target} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/conclave/plugins)
  endif()

  if(NOT arg_TESTS OR NOT (CONCLAVE_TESTS OR BUILD_TESTING))
    return()
  endif()
  find_package(GTest QUIET)
  if(NOT TARGET GTest::gtest_main)
    message(STATUS "GoogleTest is missing (Debian: libgtest-dev): ${kind}/${name} is built without its test.")
    return()
  endif()
  include(GoogleTest)
  add_executable(${target}_test ${arg_TESTS} $<TARGET_OBJECTS:${target}_objects>)
  target_include_directories(${target}_test PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_compile_definitions(${target}_test PRIVATE $<$<BOOL:${arg_TENSOR}>:CONCLAVE_PLUGIN_TENSOR>)
  target_link_libraries(${target}_test PRIVATE conclave::testkit
    $<$<BOOL:${arg_TENSOR}>:conclave::testkit_tensor> ${libraries} ${arg_TEST_LIBRARIES} GTest::gtest_main)
  if(TARGET conclave_warnings)
    target_link_libraries(${target}_test PRIVATE conclave_warnings)
  endif()
  gtest_discover_tests(${target}_test TEST_PREFIX "${kind}/${name}: " DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 60)
endfunction()
