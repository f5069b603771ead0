# Wants the onnx library that phiquant was built with: add what `tools/setup --print-prefix` prints to
# CMAKE_PREFIX_PATH.
include(CMakeFindDependencyMacro)
foreach(package Threads TBB fmt hwy nlohmann_json yaml-cpp Protobuf ONNX)
  find_dependency(${package})
endforeach()
include(${CMAKE_CURRENT_LIST_DIR}/phiquantTargets.cmake)
