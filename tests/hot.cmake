# Programs whose instructions are counted (tests/integration/test_hot_paths.py runs them), and what
# they allocate.
if(TOMBOLO_BRIDGE)
  function(hot name)
    add_executable(hot_${name} hot/hot_${name}.c hot/hot.c)
    target_link_libraries(hot_${name} PRIVATE compiler PkgConfig::CMOCKA package_sqlite ${ARGN})
  endfunction()

  hot(stream fanout)
  hot(apply replica)
  hot(serve http package_llhttp)
endif()

# One thread's work; TSan has malloc's place itself.
if(TOMBOLO_BRIDGE AND NOT TOMBOLO_SANITIZE STREQUAL "thread")
  unit(allocations USES fanout replica package_sqlite)
  target_link_options(test_allocations PRIVATE
    -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc)
endif()
