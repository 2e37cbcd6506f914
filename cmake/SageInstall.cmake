# cmake --install: program, presets, experiment files, table layouts, published numbers, bash completion. The program finds presets beside itself
# (../share/sage-ptq/presets), so the tree may be installed below any prefix and moved.
include(GNUInstallDirs)
install(TARGETS sageptq RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
foreach(folder presets configs)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/experiments/${folder}/
          DESTINATION ${CMAKE_INSTALL_DATADIR}/sage-ptq/${folder} FILES_MATCHING PATTERN "*.yaml")
endforeach()
foreach(folder tables published)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/analysis/${folder}/
          DESTINATION ${CMAKE_INSTALL_DATADIR}/sage-ptq/${folder} FILES_MATCHING PATTERN "*.yaml")
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/scripts/completion.bash
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME sageptq)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
