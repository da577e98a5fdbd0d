/*
 * A replica: a SQLite file whose tables follow shapes of a Postgres database.
 *
 * This library does no network. Whoever has a connection to the bridge gives the stream's
 * bytes (docs/PROTOCOL.md) in pieces of any size, and the rows are in the file:
 *
 *     struct replica *r = replica_open("app.db", &err);
 *     replica_set_shapes(r, shapes, n, false, &err);
 *     for (;;) {                                      // once a connection
 *         replica_request(r, true, &body, &err);      // what to POST to /v1/sync
 *         while (receive(bytes, &len))
 *             replica_feed(r, bytes, len, &err);
 *         replica_end(r, &err);
 *     }
 *     replica_close(r);
 *
 * What holds at any moment, whatever is killed:
 *  - The rows and the position they stand for are written in one SQLite transaction. A stream that
 *    breaks anywhere is asked for again from there; nothing is lost or applied twice.
 *  - Readers see a commit of Postgres wholly or not at all, over all shapes together. Several
 *    may become visible at once while the replica catches up.
 *  - A shape that must be fetched again keeps its old rows until the new ones are complete.
 *    Only a shape's first fetch shows a table that is not complete: its status says `fetching`.
 *  - A shape that cannot be applied, again and again, is left out and tried every 5 minutes;
 *    the others go on, not consistent meanwhile. Its status has the reason.
 *
 * Any other program may open the file and read, and hold read transactions as long as it
 * likes. Tables have real columns and the original primary key; types.h says how values
 * are stored. Users may add indexes, triggers and views; they survive fetching again.
 * Tables of schema public keep their name, others are named schema_table; names
 * that begin with _tombolo_, sqlite_ or _litestream are refused.
 *
 * Errors: false with `err` filled. err_retriable(err->code) tells whether asking again may help
 * (busy file, full disk, a stream that broke off); the text says what to do otherwise. After a
 * failed feed the open transaction is rolled back, and replica_request() begins anew.
 *
 * Threads: one at a time; none of its own but by replica_use_thread(). Memory: bounded by the
 * longest line (64 MB) and one batch of rows (16 MB); out of memory ends the process.
 */
#ifndef REPLICA_REPLICA_H
#define REPLICA_REPLICA_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct replica;

/* What to sync. All texts are NUL-terminated and belong to whoever made the shape;
 * names are as in Postgres's catalogue, unquoted and in their own case. */
struct replica_shape {
    char *name; /* of a shape that the bridge defines, or NULL; then nothing else is given but what
                 * its table is to be called here */
    char *schema, *table;
    char **columns; /* NULL: all */
    size_t ncolumns;
    char *where;  /* an SQL condition, or NULL: all rows */
    char *params; /* a JSON object {"1":"7"} for $1.. in where, or NULL */
};

/* Reads  @name,  or  [schema.]table [(column, ...)] [where ...]  with SQL's quoting; the condition
 * is taken as it stands to the end. An error says at which character. On true the shape is to be
 * released. */
bool replica_shape_parse(const char *text, struct replica_shape *shape, struct err *err) MUST_CHECK;
void replica_shape_release(struct replica_shape *shape);

/* For a program that uses SQLite through this library alone, before anything else: SQLite does not
 * count its memory then, which takes a lock at each allocation. */
void replica_own_sqlite(void);
/* Opens or creates the file and takes its syncer's lock. NULL with ERR_BUSY when another process
 * syncs it. ":memory:" is a replica to try things with. */
struct replica *replica_open(const char *path, struct err *err) MUST_CHECK;
void replica_close(struct replica *r);

/*
 * Makes these the replica's shapes. A stored shape that is not among them goes,
 * with its table; one whose definition differs is fetched again; two on one table are
 * refused. A table that is there and is not the replica's is refused too unless `adopt`:
 * then it is taken over, and its rows become those of the shape.
 */
bool replica_set_shapes(struct replica *r, const struct replica_shape *shapes, size_t n, bool adopt,
                        struct err *err) MUST_CHECK;

/* Before a request: all captured tables are compared with Postgres in the next stream, for local
 * writes that were not captured: they go up. What the library notices itself needs no scan. */
bool replica_scan(struct replica *r, struct err *err) MUST_CHECK;

/* The replica's own name, 32 hex digits made at random with the file. */
const char *replica_id(const struct replica *r);
/* Many first rows are from now on written by a thread of the replica's own, beside the caller's
 * that feeds: replica_feed() may return before they are in the file, and tells of a failure the
 * next time. Every other function still finds them written, but for replica_progress(), which
 * counts what has been read. Some MB are held meanwhile. */
void replica_use_thread(struct replica *r);
/* Begins a stream: puts the body of the request into `body`, which is cleared first. */
bool replica_request(struct replica *r, bool live, struct buf *body, struct err *err) MUST_CHECK;
/* Takes the next bytes of the stream and applies what is complete. */
bool replica_feed(struct replica *r, const void *bytes, size_t n, struct err *err) MUST_CHECK;
/* The stream has ended as it should: true when the file is up to date with all that was sent and no
 * shape is incomplete; else a retriable error. */
bool replica_end(struct replica *r, struct err *err) MUST_CHECK;

/*
 * Local writes. Where the bridge lets this replica write to a table, every insert, update and
 * delete of any program in the file is captured and goes up:
 *
 *     bool any;
 *     replica_write_request(r, &body, &any, &err);          // at any time, on the same thread
 *     if (any) { POST body to /v1/write; replica_write_answer(r, status, answer, &verdict, &err); }
 *
 * One request at a time. A write is over when its acknowledgement has come in the stream, with what
 * Postgres made of it; until then its rows show it. What was refused is in _tombolo_rejected.
 * A program that wants several statements to be accepted or refused as one:
 *     BEGIN; INSERT INTO _tombolo_tx DEFAULT VALUES; ..; DELETE FROM _tombolo_tx; COMMIT
 */
enum replica_write_verdict {
    REPLICA_WRITE_SENT,    /* go on: there may be more to send */
    REPLICA_WRITE_AGAIN,   /* the same later; err says why */
    REPLICA_WRITE_RENAMED, /* the file is a copy, and has another id now: begin a new stream */
    REPLICA_WRITE_STOP,    /* writes are not taken, which repeating will not change; err says why */
};

/* `*any` false: there is nothing to send, or not now. Cheap when nobody wrote. */
bool replica_write_request(struct replica *r, struct buf *body, bool *any,
                           struct err *err) MUST_CHECK;
/* An answer that is none is one for later. False when the file cannot be written, or the stream's
 * rows, which are written first, were none (ERR_PROTOCOL); the request can be made again. */
bool replica_write_answer(struct replica *r, long status, struct slice body,
                          enum replica_write_verdict *verdict, struct err *err) MUST_CHECK;
/* Mutations that are not acknowledged. */
bool replica_pending(struct replica *r, uint64_t *mutations, struct err *err) MUST_CHECK;

struct replica_progress {
    uint64_t rows;    /* applied since replica_open() */
    uint64_t commits; /* positions stored since replica_open() */
    size_t fetching;  /* shapes whose rows are being fetched */
    size_t waiting;   /* shapes left out for now: their rows cannot be applied, or not be had */
    size_t troubled;  /* those, and others that are being tried again after that */
    uint64_t position;
    bool consistent;
    bool writes; /* local writes to some table are captured */
};

void replica_progress(const struct replica *r, struct replica_progress *out);
/* The table of the shape of that index in the request, for messages; NULL beyond the last. */
const char *replica_shape_name(const struct replica *r, size_t index);

/* ---- what a file holds, read without being its syncer ---- */

struct replica_shape_status {
    char *name;                           /* that the bridge defines it by, or NULL */
    char *schema, *table, *local, *where; /* where may be NULL */
    char *status;                         /* fetching, live, refetching */
    char *reason;                         /* why it is fetched again, or left out, or NULL */
    int64_t rows;
    bool writes; /* local writes are captured */
    char *kept;  /* why they are not though the bridge would take them, or NULL */
};

/* A local write that was refused. Texts belong to the list; JSON objects of Postgres's texts. */
struct replica_rejected {
    int64_t id;
    int64_t at;                      /* when that was known here, microseconds since 1970 */
    int64_t write;                   /* the id that it went up with; 0: it did not */
    char *table, *op;                /* of the file; I, U or D */
    char *key;                       /* of the row, before */
    char *before, *after;            /* what it changed; NULL for an insert, a delete */
    char *code, *sqlstate, *message; /* the last two may be NULL */
};

struct replica_status {
    char id[40];
    uint64_t pending;  /* local writes that are not acknowledged */
    uint64_t rejected; /* ... that were refused, and nobody has looked after */
    uint64_t position;
    bool consistent;    /* the tables, all together, equal Postgres at the position */
    int64_t at;         /* that commit's time, microseconds since 1970; 0 unknown */
    int64_t heard_at;   /* when the bridge was last heard and it was stored; 0 never */
    int64_t syncer_pid; /* 0: nobody syncs */
    char syncer_host[256];
    int64_t file_bytes, wal_bytes;
    const char *sqlite_version;
    bool sqlite_at_risk; /* of the WAL-reset bug, when several programs write */
    struct replica_shape_status *shapes;
    size_t nshapes;
};

/* ERR_NOT_FOUND where there is no file or no replica in it. */
bool replica_status_read(const char *path, struct replica_status *out, struct err *err) MUST_CHECK;
void replica_status_release(struct replica_status *status);

/* The last local write so far, for replica_is_decided(); 0: there is none that is pending. */
bool replica_last_write(const char *path, int64_t *seq, struct err *err) MUST_CHECK;
/* Whether all local writes up to that one have been decided, and the file has what Postgres made
 * of them. */
bool replica_is_decided(const char *path, int64_t seq, bool *decided, struct err *err) MUST_CHECK;
/* Whether the file holds all that was committed at or before the position. */
bool replica_is_at(const char *path, uint64_t position, bool *at, struct err *err) MUST_CHECK;

/* ---- refused writes, by whatever program; also while the file is synced ---- */

/* The oldest first. */
bool replica_rejected_read(const char *path, struct replica_rejected **list, size_t *n,
                           struct err *err) MUST_CHECK;
void replica_rejected_release(struct replica_rejected *list, size_t n);
/* Forgets it; ERR_NOT_FOUND where there is none of that id. */
bool replica_rejected_discard(const char *path, int64_t id, struct err *err) MUST_CHECK;
/* Writes it to its table once more, as any program could: so it goes up again. An update whose row
 * is not there any more is ERR_NOT_FOUND. */
bool replica_rejected_retry(const char *path, int64_t id, struct err *err) MUST_CHECK;

#endif
