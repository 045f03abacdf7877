# cmake -DCONCLAVE=<executable> -DKIND=<kind> -DWORK=<folder> [-DWITH=<yaml map>] [-DTREE=<tree>] -P new_plugin.cmake
#
# What an author does: new-plugin, build out of tree, run its test, check it, list it. With TREE, only that configuring
# against another tree than the one that wrote the template finds that one.
file(REMOVE_RECURSE ${WORK})
set(name out-of-tree)
set(library ${WORK}/build/plugins/${KIND}-${name}.so)

function(must)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "exit ${code}: ${ARGN}\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

must(${CONCLAVE} new-plugin ${KIND} ${name} --dir ${WORK})
if(TREE)
  must(${CMAKE_COMMAND} -S ${WORK} -B ${WORK}/build -DCMAKE_PREFIX_PATH=${TREE} -DBUILD_TESTING=OFF)
  load_cache(${WORK}/build READ_WITH_PREFIX found_ Conclave_DIR)
  if(NOT found_Conclave_DIR STREQUAL "${TREE}/lib/cmake/Conclave")
    message(FATAL_ERROR "-DCMAKE_PREFIX_PATH=${TREE} was given and ${found_Conclave_DIR} is used")
  endif()
  return()
endif()
must(${CMAKE_COMMAND} -S ${WORK} -B ${WORK}/build)
must(${CMAKE_COMMAND} --build ${WORK}/build)
must(${CMAKE_CTEST_COMMAND} --test-dir ${WORK}/build --no-tests=error --output-on-failure)
set(with "")
if(WITH) # an empty argument would not survive the expansion of ARGN
  set(with --with "${WITH}")
endif()
must(${CONCLAVE} plugins check ${library} ${with})
must(${CMAKE_COMMAND} -E env CONCLAVE_PLUGIN_PATH=${WORK}/build/plugins ${CONCLAVE} plugins show ${KIND}/${name})
if(NOT output MATCHES "${library}")
  message(FATAL_ERROR "plugins show does not name ${library}:\n${output}")
endif()
