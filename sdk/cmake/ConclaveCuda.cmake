# conclave_cuda_objects(OUT SOURCE... [FLAGS FLAG...]): objects that nvcc makes of .cu files, for any library.
#
# nvcc is called by hand rather than through CMake's CUDA language, which wants a whole toolkit; the compiler from the wheels
# (tools/bootstrap --nvcc) is only a part of one. Only where CONCLAVE_NVCC is.
function(conclave_cuda_objects out)
  cmake_parse_arguments(PARSE_ARGV 1 cuda "" "" FLAGS)
  set(objects "")
  foreach(source IN LISTS cuda_UNPARSED_ARGUMENTS)
    get_filename_component(source ${source} ABSOLUTE)
    get_filename_component(name ${source} NAME)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
    if(name MATCHES "_sm90.cu$") # instructions of Hopper alone
      set(targets -gencode=arch=compute_90a,code=sm_90a)
    else() # A100 and the like, Hopper; PTX for what comes later
      set(targets -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90
        -gencode=arch=compute_90,code=compute_90)
    endif()
    add_custom_command(OUTPUT ${object}
      COMMAND ${CONCLAVE_CCACHE} ${CONCLAVE_NVCC} -c ${source} -o ${object} -MD -MF ${object}.d -std=c++20 -O3 ${targets}
        -ccbin ${CMAKE_CXX_COMPILER} -Xcompiler=-fPIC,-fvisibility=hidden,-Wall,-Wextra -Werror=all-warnings
        ${cuda_FLAGS} -lineinfo
      DEPENDS ${source} DEPFILE ${object}.d COMMENT "Building CUDA object ${name}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  set(${out} ${objects} PARENT_SCOPE)
endfunction()
