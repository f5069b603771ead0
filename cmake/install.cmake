# `cmake --install build/release --prefix <dir>`: the program, its documentation, and the libraries with their headers.
install(TARGETS phiquant)
install(DIRECTORY include/ TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(DIRECTORY docs/ TYPE DOC OPTIONAL FILES_MATCHING PATTERN "*.md")
install(FILES README.md LICENSE TYPE DOC OPTIONAL)

# find_package(phiquant) then gives phiquant::phiquant, and needs nothing but the packages of the system.
include(CMakePackageConfigHelpers)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/phiquant)
install(TARGETS phiquant_archive EXPORT phiquant)
get_target_property(onnx_archive ONNX::onnx LOCATION)
install(FILES ${onnx_archive} DESTINATION ${CMAKE_INSTALL_LIBDIR}/phiquant)
install(EXPORT phiquant NAMESPACE phiquant:: FILE phiquantTargets.cmake DESTINATION ${package})
configure_package_config_file(cmake/phiquantConfig.cmake.in ${PROJECT_BINARY_DIR}/phiquantConfig.cmake
                              INSTALL_DESTINATION ${package} PATH_VARS CMAKE_INSTALL_LIBDIR)
# Before 1.0 a minor version may change anything (docs/library.md).
write_basic_package_version_file(${PROJECT_BINARY_DIR}/phiquantConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/phiquantConfig.cmake ${PROJECT_BINARY_DIR}/phiquantConfigVersion.cmake
        DESTINATION ${package})

# The man page and the completions come from the option table inside the binary, so they cannot go stale.
function(install_generated kind destination name)
  install(CODE "
    execute_process(COMMAND \"$<TARGET_FILE:phiquant>\" --generate ${kind}
                    OUTPUT_FILE \"${CMAKE_BINARY_DIR}/generated/${name}\" COMMAND_ERROR_IS_FATAL ANY)")
  install(FILES ${CMAKE_BINARY_DIR}/generated/${name} DESTINATION ${destination})
endfunction()
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/generated)
install_generated(man ${CMAKE_INSTALL_MANDIR}/man1 phiquant.1)
install_generated(bash ${CMAKE_INSTALL_DATADIR}/bash-completion/completions phiquant)
install_generated(zsh ${CMAKE_INSTALL_DATADIR}/zsh/site-functions _phiquant)
install_generated(fish ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d phiquant.fish)
