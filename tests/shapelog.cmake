unit(shapelog USES shapelog)
unit(shapelog_damage USES shapelog)
unit(shapelog_threads USES shapelog)
unit(shapelog_scale USES shapelog)
unit(shapelog_range USES shapelog package_sqlite)
unit(shapelog_chunks USES shapelog)
unit(shapelog_live USES shapelog package_sqlite)

fuzz(messages USES shapelog)
fuzz(shapelog_recover USES shapelog)
target_link_libraries(fuzz_shapelog_recover PRIVATE PkgConfig::CMOCKA)

add_executable(bench_shapelog bench/bench_shapelog.c)
target_link_libraries(bench_shapelog PRIVATE compiler shapelog)
