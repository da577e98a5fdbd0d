# The C programs of ./dev bench (tests/bench/run.py drives them; no test runs them).
if(TOMBOLO_BRIDGE)
  add_executable(bench_latency bench/bench_latency.c)
  target_link_libraries(bench_latency PRIVATE compiler base package_pq package_sqlite)
  add_executable(bench_inserts bench/bench_inserts.c)
  target_link_libraries(bench_inserts PRIVATE compiler base package_sqlite)
  add_executable(bench_triggers bench/bench_triggers.c)
  target_link_libraries(bench_triggers PRIVATE compiler replica package_sqlite)
endif()
