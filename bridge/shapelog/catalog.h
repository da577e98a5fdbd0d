/*
 * The catalogue, tombolo.db: a small SQLite database that says which logs there are and what the
 * other files in the folder mean. It is the only place that knows SQLite. A row that came out wrong
 * (each carries a checksum) is as good as missing.
 *
 *     stream    one row: the source, how far the log is synced, the next log id
 *     tables    what a shape was typed against, as catalog_put_table() writes it
 *     logs      LIVE logs: the request, the handoff, the size of the snapshot file
 *     segments  the files that count; of sealed ones, the ids of the logs in it
 *
 * Every change is one transaction with synchronous=FULL. Any thread may call; a mutex of its own
 * makes them take turns.
 */
#ifndef SHAPELOG_CATALOG_H
#define SHAPELOG_CATALOG_H

#include "base/buf.h"
#include "base/reader.h"
#include "shapelog/shapelog.h"

struct catalog;

/* Opens `<dir>/tombolo.db`, made when missing. One that SQLite calls damaged is put aside, and an
 * empty one begun: its logs are lost, their clients fetch again. */
struct catalog *catalog_open(const char *dir, struct err *err) MUST_CHECK;
void catalog_close(struct catalog *catalog);

/* How far the log was synced: segment and offset up to which whole transactions lie on disk. */
struct catalog_mark {
    lsn_t end_lsn, last_commit;
    uint32_t segment; /* 0: nothing */
    uint64_t offset;
};

struct catalog_stream {
    struct shapelog_source source;
    struct catalog_mark mark;
    uint64_t next_id; /* log ids below it may have been used */
};

bool catalog_get_stream(struct catalog *catalog, struct catalog_stream *stream,
                        struct err *err) MUST_CHECK;
bool catalog_set_source(struct catalog *catalog, const struct shapelog_source *source,
                        struct err *err) MUST_CHECK;
bool catalog_reserve_ids(struct catalog *catalog, uint64_t next_id, struct err *err) MUST_CHECK;
/* Deletes all logs and segments, and the mark. */
bool catalog_reset(struct catalog *catalog, struct err *err) MUST_CHECK;

/* What is kept of a log, next to its shape's request and table. */
struct catalog_log {
    uint64_t id;
    struct slice handle;
    lsn_t registered, limit;
    struct slice snapshot; /* pg_snapshot's text; empty: none */
    uint64_t snapshot_bytes;
    uint64_t chunk_size; /* 0: not known */
};

struct catalog_new_log {
    struct catalog_log row;
    const struct shape *shape;
};
/* All of them or none. */
bool catalog_add_logs(struct catalog *catalog, const struct catalog_new_log *logs, size_t n,
                      struct err *err) MUST_CHECK;
/* Calls for every log, by id; the slices live until the call returns. Rows that are damaged are
 * deleted. */
bool catalog_each_log(struct catalog *catalog,
                      void (*each)(void *context, const struct catalog_log *log), void *context,
                      struct err *err) MUST_CHECK;
/* The table of these logs is another one from now on. Those that are not there are passed over. */
bool catalog_set_table(struct catalog *catalog, const uint64_t *ids, size_t n,
                       const struct table *table, struct err *err) MUST_CHECK;
/* As log_definition(). */
bool catalog_definition(struct catalog *catalog, uint64_t id, struct arena *arena,
                        struct shape_request *request, struct table **table,
                        struct err *err) MUST_CHECK;

struct catalog_segment {
    uint32_t number;
    uint32_t kind;
    struct slice logs; /* ids, as varints of differences; a NULL ptr: not known */
};

/* Calls for every segment, by number. */
bool catalog_each_segment(struct catalog *catalog,
                          void (*each)(void *context, const struct catalog_segment *segment),
                          void *context, struct err *err) MUST_CHECK;

/* What a sync has found out; any part may be empty. */
struct catalog_batch {
    const uint64_t *ended; /* logs */
    size_t nended;
    const struct catalog_segment *made, *sealed;
    size_t nmade, nsealed;
    const uint32_t *dropped; /* segments */
    size_t ndropped;
    const struct catalog_mark *mark; /* NULL: as it was */
};
bool catalog_apply(struct catalog *catalog, const struct catalog_batch *batch,
                   struct err *err) MUST_CHECK;

/* A table as bytes, with a version, and back. */
void catalog_put_table(const struct table *table, struct buf *out);
struct table *catalog_read_table(struct slice bytes, struct err *err) MUST_CHECK;

#endif
