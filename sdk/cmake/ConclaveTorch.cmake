# LibTorch from the torch wheel, as imported targets of our own:
#
#   conclave::c10           libc10
#   conclave::torch_cpu     libtorch_cpu (brings c10)
#   conclave::torch_openmp  -fopenmp with the wheel's own libgomp: at::parallel_for is inline and runs on one thread
#                           in a file compiled without it, and a process must not hold two OpenMP runtimes
#   conclave::torch_api     the folder that holds torch/torch.h (slow to compile; tests only)
#   conclave::cudart, conclave::c10_cuda, conclave::torch_cuda   only where the wheel has CUDA
#
# Not find_package(Torch): the wheel's include folder carries its own fmt, protobuf and others, which shadow the
# system's. These targets see a folder of links to ATen, c10, torch and caffe2 alone.
#
# In:  CONCLAVE_TORCH_DIR   the wheel's torch folder; by default $CONCLAVE_TORCH_DIR of the environment, then
#                           .deps/torch/torch of this repository, then the torch of python3 on this machine.
# Out: CONCLAVE_TORCH_VERSION (2.11.0+cu130)  CONCLAVE_TORCH_GIT_HASH  CONCLAVE_TORCH_CUDA_VERSION (13.0; empty: none)
#      CONCLAVE_TORCH_LIB_DIR  CONCLAVE_TORCH_CUDA_INCLUDE_DIR  CONCLAVE_TORCH_NVIDIA_DIR (the nvidia wheels' folder)
#      CONCLAVE_NVCC (nvcc of this machine or of tools/bootstrap --nvcc; empty: none)
#      CONCLAVE_CUDA_HEADERS_WHOLE (there is cuda_runtime.h with all that it includes)
#      CONCLAVE_CUTLASS_INCLUDE_DIR (headers of CUTLASS; -NOTFOUND: none)
#      CONCLAVE_CUDNN_INCLUDE_DIR, CONCLAVE_CUDNN_FRONTEND_INCLUDE_DIR (headers of cuDNN 9 and its frontend; -NOTFOUND: none)

# Targets are global, variables belong to whoever includes this: so only the targets are guarded.
if(NOT CONCLAVE_TORCH_DIR)
  get_filename_component(_conclave_home "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
  set(_conclave_found "")
  if(NOT "$ENV{CONCLAVE_TORCH_DIR}" STREQUAL "")
    set(_conclave_found "$ENV{CONCLAVE_TORCH_DIR}")
  elseif(EXISTS "${_conclave_home}/.deps/torch/torch/lib/libtorch_cpu.so")
    set(_conclave_found "${_conclave_home}/.deps/torch/torch")
  else()
    find_program(CONCLAVE_PYTHON3 python3)
    mark_as_advanced(CONCLAVE_PYTHON3)
    if(CONCLAVE_PYTHON3)
      execute_process(
        COMMAND "${CONCLAVE_PYTHON3}" -c
          "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
        OUTPUT_VARIABLE _conclave_found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    endif()
  endif()
  set(CONCLAVE_TORCH_DIR "${_conclave_found}" CACHE PATH "The torch folder of a LibTorch wheel" FORCE)
endif()

set(CONCLAVE_TORCH_LIB_DIR "${CONCLAVE_TORCH_DIR}/lib")
if(NOT EXISTS "${CONCLAVE_TORCH_LIB_DIR}/libtorch_cpu.so" OR NOT EXISTS "${CONCLAVE_TORCH_DIR}/include/ATen")
  set(_conclave_bad "${CONCLAVE_TORCH_DIR}")
  unset(CONCLAVE_TORCH_DIR CACHE)
  message(FATAL_ERROR "No LibTorch at '${_conclave_bad}': run tools/bootstrap, or set CONCLAVE_TORCH_DIR to the torch "
                      "folder of a torch wheel.")
endif()

file(READ "${CONCLAVE_TORCH_DIR}/version.py" _conclave_version_py)
function(_conclave_version_field name out)
  if(_conclave_version_py MATCHES "(^|\n)${name}[^=\n]*= *'([^']*)'")
    set(${out} "${CMAKE_MATCH_2}" PARENT_SCOPE)
  else()
    set(${out} "" PARENT_SCOPE)
  endif()
endfunction()
_conclave_version_field(__version__ CONCLAVE_TORCH_VERSION)
_conclave_version_field(git_version CONCLAVE_TORCH_GIT_HASH)
_conclave_version_field(cuda CONCLAVE_TORCH_CUDA_VERSION)
if(NOT CONCLAVE_TORCH_VERSION MATCHES "^2\\.11\\.")
  message(WARNING "Conclave is written for LibTorch 2.11; ${CONCLAVE_TORCH_DIR} holds ${CONCLAVE_TORCH_VERSION}.")
endif()

# The nvidia wheels lie beside torch; cu13 holds the toolkit's parts.
get_filename_component(CONCLAVE_TORCH_NVIDIA_DIR "${CONCLAVE_TORCH_DIR}/../nvidia" ABSOLUTE)
set(CONCLAVE_TORCH_CUDA_INCLUDE_DIR "")
set(CONCLAVE_CUDA_HEADERS_WHOLE FALSE)
foreach(_conclave_dir IN ITEMS "${CONCLAVE_TORCH_NVIDIA_DIR}/cu13/include" /usr/local/cuda/include)
  if(NOT CONCLAVE_TORCH_CUDA_INCLUDE_DIR AND EXISTS "${_conclave_dir}/cuda_runtime_api.h")
    set(CONCLAVE_TORCH_CUDA_INCLUDE_DIR "${_conclave_dir}")
  endif()
  # cuda_runtime.h, which torch's headers of CUDA include, needs headers of the compiler; the first folder that has both.
  if(NOT CONCLAVE_CUDA_HEADERS_WHOLE AND EXISTS "${_conclave_dir}/cuda_runtime.h" AND EXISTS "${_conclave_dir}/crt/host_config.h")
    set(CONCLAVE_TORCH_CUDA_INCLUDE_DIR "${_conclave_dir}")
    set(CONCLAVE_CUDA_HEADERS_WHOLE TRUE)
  endif()
endforeach()

get_filename_component(_conclave_home "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
find_program(CONCLAVE_NVCC nvcc
  HINTS "${CONCLAVE_TORCH_NVIDIA_DIR}/cu13/bin" "${_conclave_home}/.deps/torch/nvidia/cu13/bin" /usr/local/cuda/bin)
mark_as_advanced(CONCLAVE_NVCC)
if(CONCLAVE_NVCC)
  execute_process(COMMAND "${CONCLAVE_NVCC}" --version OUTPUT_VARIABLE _conclave_nvcc ERROR_QUIET)
  string(REGEX MATCH "^[0-9]+" _conclave_cuda_major "${CONCLAVE_TORCH_CUDA_VERSION}")
  if(NOT _conclave_cuda_major OR NOT _conclave_nvcc MATCHES "release ${_conclave_cuda_major}\\.")
    set(CONCLAVE_NVCC "") # of another CUDA than LibTorch's
  endif()
else()
  set(CONCLAVE_NVCC "")
endif()

# CUTLASS's headers, from tools/bootstrap or of the machine; empty: none.
find_path(CONCLAVE_CUTLASS_INCLUDE_DIR cutlass/version.h
  HINTS "${CONCLAVE_TORCH_DIR}/../cutlass_library/source/include" "${_conclave_home}/.deps/torch/cutlass_library/source/include")
mark_as_advanced(CONCLAVE_CUTLASS_INCLUDE_DIR)

# cuDNN's headers come with LibTorch's CUDA libraries, or with the packages of the golden tests; the library is LibTorch's, at run time.
find_path(CONCLAVE_CUDNN_INCLUDE_DIR cudnn_graph.h
  HINTS "${CONCLAVE_TORCH_NVIDIA_DIR}/cudnn/include" "${_conclave_home}/.deps/torch/nvidia/cudnn/include"
        "${_conclave_home}/.deps/oracles/nvidia/cudnn/include")
find_path(CONCLAVE_CUDNN_FRONTEND_INCLUDE_DIR cudnn_frontend_version.h
  HINTS "${CONCLAVE_TORCH_DIR}/../include" "${_conclave_home}/.deps/torch/include")
mark_as_advanced(CONCLAVE_CUDNN_INCLUDE_DIR CONCLAVE_CUDNN_FRONTEND_INCLUDE_DIR)

if(NOT TARGET conclave::torch_cpu)
  set(_conclave_stage "${CMAKE_BINARY_DIR}/torch-include")
  file(MAKE_DIRECTORY "${_conclave_stage}")
  foreach(_conclave_dir IN ITEMS ATen c10 torch caffe2)
    file(CREATE_LINK "${CONCLAVE_TORCH_DIR}/include/${_conclave_dir}" "${_conclave_stage}/${_conclave_dir}" SYMBOLIC)
  endforeach()

  # Imported libraries' include folders are system ones: their warnings are not ours.
  function(_conclave_torch_library name)
    cmake_parse_arguments(arg "" "FILE" "DEFINES;LINK" ${ARGN})
    if(NOT arg_FILE)
      set(arg_FILE "${CONCLAVE_TORCH_LIB_DIR}/lib${name}.so")
    endif()
    get_filename_component(soname "${arg_FILE}" NAME)
    add_library(conclave::${name} SHARED IMPORTED GLOBAL)
    set_target_properties(conclave::${name} PROPERTIES
      IMPORTED_LOCATION "${arg_FILE}"
      IMPORTED_SONAME "${soname}"
      INTERFACE_INCLUDE_DIRECTORIES "${_conclave_stage}"
      INTERFACE_COMPILE_DEFINITIONS "${arg_DEFINES}"
      INTERFACE_LINK_LIBRARIES "${arg_LINK}")
  endfunction()

  find_package(Threads REQUIRED)
  # The compile definitions are those of the wheel's own Caffe2Targets.cmake and TorchConfig.cmake.
  _conclave_torch_library(c10 DEFINES _GLIBCXX_USE_CXX11_ABI=1)
  _conclave_torch_library(torch_cpu
    DEFINES USE_DISTRIBUTED USE_C10D_GLOO USE_RPC USE_TENSORPIPE
    LINK conclave::c10 Threads::Threads)

  add_library(conclave::torch_api INTERFACE IMPORTED GLOBAL)
  set_target_properties(conclave::torch_api PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${_conclave_stage}/torch/csrc/api/include"
    INTERFACE_LINK_LIBRARIES conclave::torch_cpu)

  file(GLOB _conclave_gomp "${CONCLAVE_TORCH_LIB_DIR}/libgomp*.so*"
       "${CONCLAVE_TORCH_LIB_DIR}/../../torch.libs/libgomp*.so*")
  if(NOT _conclave_gomp)
    message(FATAL_ERROR "${CONCLAVE_TORCH_LIB_DIR} holds no libgomp: this is not the torch wheel that Conclave expects.")
  endif()
  list(GET _conclave_gomp 0 _conclave_gomp)
  _conclave_torch_library(torch_openmp FILE "${_conclave_gomp}")
  # Compiled with -fopenmp but not linked with it: that would name the compiler's libgomp. Not under the thread sanitizer:
  # it does not see how libgomp orders its threads, and calls every parallel loop a race; they run on one thread there.
  if(CONCLAVE_SANITIZE MATCHES "thread")
    set(_conclave_openmp_flag -fopenmp-simd)
  else()
    set(_conclave_openmp_flag -fopenmp)
  endif()
  set_property(TARGET conclave::torch_openmp PROPERTY
    INTERFACE_COMPILE_OPTIONS "$<$<COMPILE_LANGUAGE:CXX>:${_conclave_openmp_flag}>")

  if(CONCLAVE_TORCH_CUDA_VERSION AND CONCLAVE_TORCH_CUDA_INCLUDE_DIR)
    file(GLOB _conclave_cudart "${CONCLAVE_TORCH_NVIDIA_DIR}/cu13/lib/libcudart.so.*"
         /usr/local/cuda/lib64/libcudart.so.13)
    if(_conclave_cudart)
      list(GET _conclave_cudart 0 _conclave_cudart)
      _conclave_torch_library(cudart FILE "${_conclave_cudart}")
      set_property(TARGET conclave::cudart PROPERTY INTERFACE_INCLUDE_DIRECTORIES "${CONCLAVE_TORCH_CUDA_INCLUDE_DIR}")
      _conclave_torch_library(c10_cuda LINK conclave::c10 conclave::cudart)
      # Nothing of libtorch_cuda is called by name (its kernels register themselves), so the linker would drop it; and
      # the CUDA libraries it needs may be absent on the machine that builds.
      _conclave_torch_library(torch_cuda DEFINES USE_NVSHMEM USE_C10D_NCCL
        LINK conclave::c10_cuda conclave::torch_cpu)
      set_property(TARGET conclave::torch_cuda PROPERTY
        INTERFACE_LINK_OPTIONS "LINKER:--no-as-needed" "LINKER:--allow-shlib-undefined")
      foreach(_conclave_dir IN ITEMS nccl cudnn)
        if(EXISTS "${CONCLAVE_TORCH_NVIDIA_DIR}/${_conclave_dir}/include")
          set_property(TARGET conclave::torch_cuda APPEND PROPERTY
            INTERFACE_INCLUDE_DIRECTORIES "${CONCLAVE_TORCH_NVIDIA_DIR}/${_conclave_dir}/include")
        endif()
      endforeach()
    endif()
  endif()
  message(STATUS "LibTorch ${CONCLAVE_TORCH_VERSION} (${CONCLAVE_TORCH_GIT_HASH}) at ${CONCLAVE_TORCH_DIR}")
endif()
