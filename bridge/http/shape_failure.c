/*
 * The answer when a shape's log could not be made, or a subset not be read,
 * through no fault of the request: which of these to try again, and when.
 */
#include "http/shape_private.h"

#include <stdio.h>

#define SOON_S 1
#define LATER_S 10

/* What others have to end or to change first; said as it is. */
static bool is_known(const struct err *err)
{
    static const char permission_denied[] = "42501";

    switch (err->code) {
    case ERR_BUSY:
    case ERR_TIMEOUT:
    case ERR_CONFIG:
    case ERR_LIMIT:
    case ERR_DISK_FULL:
        return true;
    default:
        return strcmp(err->sqlstate, permission_denied) == 0;
    }
}

void shape_answer_failure(struct shape_request_state *get, const struct err *err)
{
    char text[sizeof(err->msg) + 64];

    if (err->code == ERR_CHANGED) {
        shape_answer_refetch(get, NULL);
    } else if (err->code == ERR_CONN) {
        shape_answer_503(get,
                         SLICE("{\"code\":\"database_unreachable\","
                               "\"error\":\"Database is unreachable\"}"),
                         LATER_S, false);
    } else if (err->code == ERR_STOPPED) {
        shape_answer_later(get, "Failed to create shape, please retry", SOON_S, false);
    } else if (is_known(err)) {
        shape_answer_later(get, err->msg, LATER_S, true);
    } else {
        snprintf(text, sizeof(text), "Unexpected error while creating snapshot: %s", err->msg);
        shape_answer_error(get, 500, text);
    }
}
