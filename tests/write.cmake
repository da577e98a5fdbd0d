# The room write: its unit tests, fuzz target, and the tool that its tests with Postgres drive.
if(TOMBOLO_BRIDGE)
  add_executable(apply_write tools/apply_write.c)
  target_link_libraries(apply_write PRIVATE compiler write package_yyjson)

  unit(write_request ONE_THREAD USES write)
  unit(write_sql ONE_THREAD USES write)
  unit(write_sqlstate ONE_THREAD USES write)
  fuzz(write_body USES write)
endif()
