# Makes the SDK usable from other trees: find_package(Conclave) works against the build tree and the install tree alike.
#
#   <build>/lib/cmake/Conclave/ConclaveConfig.cmake      for -DCMAKE_PREFIX_PATH=<build>
#   <prefix>/lib/cmake/Conclave/ConclaveConfig.cmake     for -DCMAKE_PREFIX_PATH=<prefix>, after
#                                                        `cmake --install <build> --prefix <prefix>`
#
# The build tree also gets <build>/share/conclave/template, where `conclave new-plugin` looks in both trees.
include(CMakePackageConfigHelpers)

set(_package_dir ${CMAKE_BINARY_DIR}/lib/cmake/Conclave)
set(_install_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Conclave)
set(_modules ${CMAKE_CURRENT_LIST_DIR}/ConclavePlugin.cmake ${CMAKE_CURRENT_LIST_DIR}/ConclaveTorch.cmake
  ${CMAKE_CURRENT_LIST_DIR}/plugin.map)

set_target_properties(conclave_sdk PROPERTIES EXPORT_NAME sdk INSTALL_RPATH "$ORIGIN")
set_target_properties(conclave_testkit PROPERTIES EXPORT_NAME testkit)
set_target_properties(conclave_testkit_tensor PROPERTIES EXPORT_NAME testkit_tensor)
set_target_properties(conclave_datakit PROPERTIES EXPORT_NAME datakit)
set_target_properties(conclave_tensor PROPERTIES EXPORT_NAME tensor INSTALL_RPATH "$ORIGIN;${CONCLAVE_TORCH_LIB_DIR}")

# Three sets: a plugin without tensors needs no LibTorch to build, one that reads no files no decompressors.
install(TARGETS conclave_sdk conclave_testkit EXPORT ConclaveTargets)
install(TARGETS conclave_datakit EXPORT ConclaveDatakitTargets)
install(TARGETS conclave_tensor conclave_testkit_tensor EXPORT ConclaveTensorTargets)
install(EXPORT ConclaveTargets NAMESPACE conclave:: DESTINATION ${_install_dir})
install(EXPORT ConclaveDatakitTargets NAMESPACE conclave:: DESTINATION ${_install_dir})
install(EXPORT ConclaveTensorTargets NAMESPACE conclave:: DESTINATION ${_install_dir})
export(EXPORT ConclaveTargets NAMESPACE conclave:: FILE ${_package_dir}/ConclaveTargets.cmake)
export(EXPORT ConclaveDatakitTargets NAMESPACE conclave:: FILE ${_package_dir}/ConclaveDatakitTargets.cmake)
export(EXPORT ConclaveTensorTargets NAMESPACE conclave:: FILE ${_package_dir}/ConclaveTensorTargets.cmake)

# ConclaveConfig.cmake.in reads these two.
set(CONCLAVE_PACKAGE_TORCH_DIR ${CONCLAVE_TORCH_DIR})
set(CONCLAVE_PACKAGE_SANITIZE ${CONCLAVE_SANITIZE})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/ConclaveConfig.cmake.in ${_package_dir}/ConclaveConfig.cmake
  INSTALL_DESTINATION ${_install_dir})
write_basic_package_version_file(${_package_dir}/ConclaveConfigVersion.cmake COMPATIBILITY ExactVersion)
foreach(_module IN LISTS _modules)
  configure_file(${_module} ${_package_dir} COPYONLY)
endforeach()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/share/conclave)
file(CREATE_LINK ${CMAKE_CURRENT_LIST_DIR}/../template ${CMAKE_BINARY_DIR}/share/conclave/template SYMBOLIC)

install(FILES ${_package_dir}/ConclaveConfig.cmake ${_package_dir}/ConclaveConfigVersion.cmake ${_modules}
  DESTINATION ${_install_dir})
install(DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../include/conclave ${CMAKE_CURRENT_BINARY_DIR}/include/conclave
  ${CMAKE_CURRENT_LIST_DIR}/../datakit/include/conclave ${CMAKE_CURRENT_LIST_DIR}/../testkit/include/conclave
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp")
install(DIRECTORY ${CMAKE_CURRENT_LIST_DIR}/../template DESTINATION ${CMAKE_INSTALL_DATADIR}/conclave)
