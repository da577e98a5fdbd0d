#include "hot.h"
#include "../unit/sanitized.h"

#include <gnu/libc-version.h>
#include <sqlite3.h>
#include <stdio.h>
#include <sys/utsname.h>

#ifdef __clang__
#define COMPILER "clang-%d", __clang_major__
#else
#define COMPILER "gcc-%d", __GNUC__
#endif

#if UNDER_ASAN || UNDER_TSAN
#define KIND "/sanitized"
#elif !defined(__OPTIMIZE__)
#define KIND "/unoptimised"
#else
#define KIND ""
#endif

void hot_say(const char *path, uint64_t units)
{
    struct utsname machine;

    uname(&machine);
    printf("path %s units %llu built ", path, (unsigned long long)units);
    printf(COMPILER);
    printf("/glibc-%s/%s/sqlite-%s%s\n", gnu_get_libc_version(), machine.machine,
           sqlite3_libversion(), KIND);
    fflush(stdout);
}

__attribute__((noinline)) void hot_measure(void (*run)(void *), void *arg)
{
    run(arg);
}
