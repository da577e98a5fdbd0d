if(TOMBOLO_BRIDGE)
  unit(config ONE_THREAD USES settings base)
  fuzz(config_ini USES settings base)
  unit(metrics USES metrics base)

  # docs/CONFIG.md is generated: `cmake --build <dir> --target config_md` writes it.
  add_executable(config_doc ${CMAKE_SOURCE_DIR}/bridge/settings/tool/config_doc.c)
  target_link_libraries(config_doc PRIVATE compiler settings)
  add_custom_target(config_md COMMAND config_doc > ${CMAKE_SOURCE_DIR}/docs/CONFIG.md VERBATIM)
  add_test(NAME config_md_is_current
    COMMAND sh -c "$<TARGET_FILE:config_doc> | diff -u ${CMAKE_SOURCE_DIR}/docs/CONFIG.md -")
endif()
