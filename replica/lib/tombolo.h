/*
 * libtombolo: a SQLite file that follows shapes of a Postgres database by way of a bridge, and
 * sends what is written to it back up.
 *
 *     struct tombolo *t = tombolo_open("app.db", "https://sync.example.com");
 *
 *     if (tombolo_add_shape(t, "orders where owner = 7") != TOMBOLO_OK ||
 *         tombolo_start(t) != TOMBOLO_OK)
 *         fail(tombolo_error(t));
 *     ...
 *     tombolo_close(t);
 *
 * The program opens app.db with SQLite as ever, reads and writes its tables as those of any SQLite
 * file, online or not, from any number of processes and languages: triggers in the file catch what
 * is written. One process at a time syncs a file; others get TOMBOLO_BUSY when they try.
 *
 * Threads: every function may be called from any thread, but tombolo_close() only when no other
 * call is under way. Handles are independent of one another. Out of memory ends the process.
 *
 * Needs SQLite 3.24 or later. It must be the very library that the rest of the process uses: two
 * copies of SQLite in one process lose each other's locks (https://sqlite.org/howtocorrupt.html).
 * A program with SQLite built in loads the extension tombolo.so instead, which uses the program's.
 */
#ifndef TOMBOLO_H
#define TOMBOLO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TOMBOLO_API __attribute__((visibility("default")))

struct tombolo;

enum tombolo_result {
    TOMBOLO_OK,
    TOMBOLO_TIMEOUT, /* not within the time that was given */
    TOMBOLO_BUSY,    /* another process, or this handle's thread, syncs the file */
    TOMBOLO_OFFLINE, /* the bridge is not to be reached, or cannot answer now: try again later */
    TOMBOLO_REFUSED, /* the bridge says no: the token, a shape; trying again does not help */
    TOMBOLO_MISUSE,  /* a call that cannot be meant: a shape that is none, two threads started */
    TOMBOLO_FAILED,  /* the file: no room, damaged, not a database */
};

/* "0.1.0" */
TOMBOLO_API const char *tombolo_version(void);
/* "timeout" and so on; for messages. */
TOMBOLO_API const char *tombolo_result_name(enum tombolo_result result);

/* A handle, never NULL. Nothing is opened yet. `url` is the bridge's, http or https; NULL for a
 * handle that only looks at what is in the file. */
TOMBOLO_API struct tombolo *tombolo_open(const char *path, const char *url);
/* Stops the thread. NULL is fine. */
TOMBOLO_API void tombolo_close(struct tombolo *t);
/* What the last call of this thread on any handle that did not return TOMBOLO_OK says, with what
 * to do about it; "" when none has failed. Lives until this thread's next call. */
TOMBOLO_API const char *tombolo_error(void);

/* The bearer token (a JWT, or the bridge's secret) of the next connections. At any time: a running
 * thread connects anew, so an expired token is replaced without a stop. NULL: none. Copied. */
TOMBOLO_API void tombolo_set_token(struct tombolo *t, const char *token);

/* Adds a shape:  [schema.]table [(column, ...)] [where condition]. Before the first sync. The
 * file's tables become those of the shapes added: one that was synced before and is not among them
 * is dropped. Without any the file keeps the shapes that it has. */
TOMBOLO_API enum tombolo_result tombolo_add_shape(struct tombolo *t, const char *shape);

/* Both ways, once: sends what was written before the call, and ends when the file holds all that
 * was committed in Postgres before it. TOMBOLO_TIMEOUT after `timeout_ms` (-1: never); what has
 * arrived by then stays, and the next call goes on there. */
TOMBOLO_API enum tombolo_result tombolo_sync(struct tombolo *t, int timeout_ms);

/* A thread of ours that keeps the file in sync, both ways, until tombolo_stop(): connects again
 * after failures, waits with growing pauses while offline. Returns when the file has been opened;
 * what happens later is told by tombolo_status() and the callback. */
TOMBOLO_API enum tombolo_result tombolo_start(struct tombolo *t);
TOMBOLO_API void tombolo_stop(struct tombolo *t);

enum tombolo_event {
    TOMBOLO_CHANGED,  /* rows have been applied, or writes acknowledged */
    TOMBOLO_REJECTED, /* a write was refused and has been taken back: tombolo_rejected() */
    TOMBOLO_PROBLEM,  /* the sync has failed and is tried again: tombolo_status() says why */
};

/* Called by whichever thread syncs, between two transactions of its own; it must not call
 * tombolo_stop() or tombolo_close(). Before the first sync. */
typedef void tombolo_callback(void *arg, enum tombolo_event event);
TOMBOLO_API void tombolo_on_event(struct tombolo *t, tombolo_callback *callback, void *arg);

#define TOMBOLO_PROBLEM_SIZE 800

struct tombolo_status {
    uint64_t position;    /* the LSN in Postgres up to which the file holds everything */
    int64_t committed_at; /* when that was committed there, microseconds since 1970; 0 unknown */
    int64_t heard_at;     /* when the bridge was last heard, the same; 0 never */
    int consistent;       /* the tables, all together, equal Postgres at the position, but for
                           * what is written here and not acknowledged */
    int syncing;          /* some process syncs the file now */
    size_t shapes;        /* how many the file has */
    size_t fetching;      /* of them, those whose first rows are not all here */
    uint64_t pending;     /* rows written here that Postgres has not acknowledged */
    uint64_t rejected;    /* refused writes that nobody has discarded or retried */
    enum tombolo_result result; /* of this handle's sync: why it is not connected, or TOMBOLO_OK */
    char problem[TOMBOLO_PROBLEM_SIZE]; /* the same in words; "" */
    size_t kept; /* shapes that may be written to, but what is written stays here */
    char kept_why[TOMBOLO_PROBLEM_SIZE]; /* the first of them, and why; "" */
};

/* What the file holds, whoever syncs it. */
TOMBOLO_API enum tombolo_result tombolo_status(struct tombolo *t, struct tombolo_status *out);

/* ---- reading what was written ---- */

/* Until everything that was written to the file before the call, by any process, has been decided
 * by Postgres and its effects have come back. Something must be syncing the file. Refused writes
 * count as decided. */
TOMBOLO_API enum tombolo_result tombolo_wait_written(struct tombolo *t, int timeout_ms);
/* Until the file holds everything committed at or before this LSN in Postgres, as
 * pg_current_wal_insert_lsn() gives it to another client that has just written there. */
TOMBOLO_API enum tombolo_result tombolo_wait_position(struct tombolo *t, uint64_t position,
                                                      int timeout_ms);
/* Until this handle's thread has applied anything since *seen, which is then set; 0 at first. */
TOMBOLO_API enum tombolo_result tombolo_wait_change(struct tombolo *t, uint64_t *seen,
                                                    int timeout_ms);

/* ---- refused writes ---- */

struct tombolo_rejection {
    int64_t id;
    int64_t at;            /* microseconds since 1970 */
    const char *table;     /* its name in the file */
    const char *operation; /* insert, update, delete */
    const char *key;       /* JSON objects of column names and Postgres's texts; "" where the
                            * operation has none */
    const char *before, *after;
    const char *code;     /* not_allowed, invalid, check, missing, conflict, refused, local */
    const char *sqlstate; /* Postgres's, or "" */
    const char *message;
};

/* Calls `each` for every one, the oldest first, until it returns other than 0. The texts live
 * during the call. */
typedef int tombolo_each_rejection(void *arg, const struct tombolo_rejection *rejection);
TOMBOLO_API enum tombolo_result tombolo_rejected(struct tombolo *t, tombolo_each_rejection *each,
                                                 void *arg);
/* Forgets it. TOMBOLO_MISUSE when there is none of that id. */
TOMBOLO_API enum tombolo_result tombolo_discard(struct tombolo *t, int64_t id);
/* Does the write once more in the file, on the row as it is now, so that it is sent again;
 * TOMBOLO_MISUSE when that cannot be, with the reason. */
TOMBOLO_API enum tombolo_result tombolo_retry(struct tombolo *t, int64_t id);

#ifdef __cplusplus
}
#endif

#endif
