# How everything is compiled: warnings, hardening, sanitizers.

add_library(compiler INTERFACE)
target_compile_definitions(compiler INTERFACE _GNU_SOURCE TOMBOLO_VERSION="${PROJECT_VERSION}")
target_compile_options(compiler INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wvla -Wwrite-strings -Wstrict-prototypes
  -Wmissing-prototypes -fno-strict-aliasing -fstack-protector-strong)
if(TOMBOLO_WERROR)
  target_compile_options(compiler INTERFACE -Werror)
endif()

if(TOMBOLO_SANITIZE)
  target_compile_options(compiler INTERFACE -fsanitize=${TOMBOLO_SANITIZE}
    -fno-sanitize-recover=all -fno-omit-frame-pointer
    -UNDEBUG # whatever the build type: what is sanitized also asserts
    # gcc, under sanitizers, no longer sees the ranges that show a text to fit.
    $<$<C_COMPILER_ID:GNU>:-Wno-format-truncation>)
  target_link_options(compiler INTERFACE -fsanitize=${TOMBOLO_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_definitions(compiler INTERFACE _FORTIFY_SOURCE=2)
  target_link_options(compiler INTERFACE -Wl,-z,relro,-z,now)
endif()

# The rooms too, not the targets alone: libFuzzer sees only what is instrumented.
if(TOMBOLO_FUZZ)
  target_compile_options(compiler INTERFACE -fsanitize=fuzzer-no-link)
  target_link_options(compiler INTERFACE -fsanitize=fuzzer-no-link)
endif()

find_package(Threads REQUIRED)
target_link_libraries(compiler INTERFACE Threads::Threads)
