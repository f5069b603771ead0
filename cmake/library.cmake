# phiquant::phiquant: one archive of all folders beneath the command line, for programs of others. It shows the headers of
# include/phiquant and asks for C++20; whatever it is built with is linked and otherwise hidden.
set(folders core wire quant model decide format pipeline)
list(TRANSFORM folders REPLACE "(.+)" "$<TARGET_OBJECTS:phiquant_\\1>" OUTPUT_VARIABLE folder_objects)
add_library(phiquant_archive STATIC ${folder_objects})
add_library(phiquant::phiquant ALIAS phiquant_archive)
set_target_properties(phiquant_archive PROPERTIES OUTPUT_NAME phiquant EXPORT_NAME phiquant LINKER_LANGUAGE CXX)
target_compile_features(phiquant_archive INTERFACE cxx_std_20)
target_include_directories(phiquant_archive INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:include>)
# The onnx library lives in a cache of the build machine. Installed, it lies beside phiquant's own archive, and
# phiquantConfig.cmake makes a target of it.
target_link_libraries(phiquant_archive INTERFACE
  $<BUILD_INTERFACE:$<LINK_ONLY:ONNX::onnx>> $<INSTALL_INTERFACE:$<LINK_ONLY:phiquant::onnx>>
  $<LINK_ONLY:protobuf::libprotobuf> $<LINK_ONLY:hwy::hwy> $<LINK_ONLY:TBB::tbb> $<LINK_ONLY:fmt::fmt>
  $<LINK_ONLY:yaml-cpp> $<LINK_ONLY:Threads::Threads>)
