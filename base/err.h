/*
 * What went wrong, said once by the function that saw it. Callers add where
 * they were with err_wrap(); only the outermost caller logs or answers with
 * it. Functions that can fail return bool and take `struct err *err` last,
 * which must not be NULL.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

/* code, may the same call be tried again, text */
#define ERR_MAP(X)                                                                                 \
    X(ERR_NONE, false, "no error")                                                                 \
    X(ERR_PROTOCOL, false, "malformed message")                                                    \
    X(ERR_CONN, true, "connection lost")                                                           \
    X(ERR_PG, false, "refused by Postgres")                                                        \
    X(ERR_INPUT, false, "invalid input")                                                           \
    X(ERR_UNSUPPORTED, false, "not supported")                                                     \
    X(ERR_NOT_FOUND, false, "not found")                                                           \
    X(ERR_CONFIG, false, "invalid configuration")                                                  \
    X(ERR_IO, false, "input or output failed")                                                     \
    X(ERR_DISK_FULL, true, "no space left")                                                        \
    X(ERR_CORRUPT, false, "damaged data")                                                          \
    X(ERR_BUSY, true, "busy")                                                                      \
    X(ERR_TIMEOUT, true, "timed out")                                                              \
    X(ERR_STOPPED, false, "stopping")                                                              \
    X(ERR_CHANGED, true, "schema changed")                                                         \
    X(ERR_SQLITE, false, "refused by SQLite")                                                      \
    X(ERR_LIMIT, false, "limit exceeded")

enum err_code {
#define X(code, retriable, text) code,
    ERR_MAP(X)
#undef X
};

struct err {
    enum err_code code;
    char sqlstate[6]; /* Postgres's SQLSTATE, or "" */
    char msg[512];
    char hint[256]; /* what to do about it, or "" */
};

/* Records the failure and returns false, so that callers can write
 * `return err_set(err, ERR_PROTOCOL, "...")`. Clears hint and sqlstate. */
bool err_set(struct err *err, enum err_code code, const char *fmt, ...) PRINTF(3, 4);
/* Puts "prefix: " in front of the message; returns false. */
bool err_wrap(struct err *err, const char *fmt, ...) PRINTF(2, 3);
/* Adds advice for whoever reads the message; returns false. */
bool err_hint(struct err *err, const char *fmt, ...) PRINTF(2, 3);
/* As err_set(), with ": " and the text of errno behind. ENOSPC and EDQUOT become ERR_DISK_FULL. */
bool err_errno(struct err *err, enum err_code code, const char *fmt, ...) PRINTF(3, 4);

const char *err_text(enum err_code code);
bool err_retriable(enum err_code code);

#endif
