# `cmake --install build/release --prefix <dir>`: the program, its documentation, and the libraries with their headers.
install(TARGETS phiquant)
install(DIRECTORY include/ TYPE INCLUDE FILES_MATCHING PATTERN "*.h")
install(DIRECTORY docs/ TYPE DOC OPTIONAL FILES_MATCHING PATTERN "*.md")
install(FILES README.md LICENSE TYPE DOC OPTIONAL)

# find_package(phiquant) then gives phiquant::phiquant_pipeline, which brings those beneath it.
install(TARGETS phiquant_core phiquant_wire phiquant_model phiquant_quant phiquant_decide phiquant_format phiquant_pipeline
        EXPORT phiquant)
install(EXPORT phiquant NAMESPACE phiquant:: FILE phiquantTargets.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/phiquant)
install(FILES cmake/phiquantConfig.cmake DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/phiquant)

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
