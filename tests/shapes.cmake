# The room shapes: its unit tests, fuzz targets, and the tool that the oracle test drives.
if(TOMBOLO_BRIDGE)
  add_executable(evalcat tools/evalcat.c)
  target_link_libraries(evalcat PRIVATE compiler shapes package_yyjson)

  unit(where USES shapes)
  unit(where_types USES shapes)
  unit(shape USES shapes)
unit(shape_fit USES shapes)
  unit(subset USES shapes)
  unit(effect USES shapes)
  unit(index USES shapes)
  fuzz(where_parse USES shapes)
endif()
