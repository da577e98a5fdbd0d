#include "snapshot/failure.h"

#include <string.h>

#define INSUFFICIENT_PRIVILEGE "42501"

static const char no_snapshot[] = "Unable to create initial snapshot";

void failure_name(struct err *err)
{
    if (strcmp(err->sqlstate, INSUFFICIENT_PRIVILEGE) == 0 &&
        strncmp(err->msg, no_snapshot, sizeof(no_snapshot) - 1) != 0)
        err_wrap(err, "%s", no_snapshot);
}
