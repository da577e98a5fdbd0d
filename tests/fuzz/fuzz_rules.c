/*
 * Any bytes as tombolo.ini, for its rules. They are refused with a message that
 * names the place, or give rules of which nobody without a token has what
 * names a claim, and by which nothing is written yet.
 */
#include "rules/rules.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool fact)
{
    if (!fact)
        abort();
}

/* By the names that the corpus uses. */
static void ask(const struct rules *rules)
{
    static const char *const names[] = {"mine", "all", "a"};
    struct arena arena = {0};
    struct shape_request request;
    struct write_rules writes;
    struct err err;

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (rules_shape(rules, slice_of(names[i]), NULL, &arena, &request, &err) == RULES_FOUND)
            require(request.table.len > 0 && request.params.n == 0);
        else
            require(!request.table.ptr);
    }
    require(!rules_write(rules, NULL, &arena, &writes, &err) && err.code == ERR_BUSY);
    require(writes.ngrants == 0);
    arena_release(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct err err = {0};
    FILE *f = size ? fmemopen((void *)(uintptr_t)data, size, "r") : fopen("/dev/null", "r");

    require(f != NULL);
    struct rules *rules = rules_read(f, "fuzz.ini", &err);
    fclose(f);
    if (!rules) {
        require(err.code == ERR_CONFIG && strncmp(err.msg, "fuzz.ini:", 9) == 0);
        return 0;
    }
    ask(rules);
    rules_unref(rules);
    return 0;
}
