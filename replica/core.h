/*
 * A replica's insides. Bytes become lines in stream.c, lines become events in
 * apply.c, runs of messages become rows in rows.c.
 *
 * A feed is a shape in the present stream:
 *
 *     CLOSED --open--> SNAPSHOT --snapshot_end--> COMPLETE --commit--> LIVE
 *        |                 ^                                            |
 *        |                 +------------ open (snapshot) ---------------+
 *        +--open (no snapshot)--------------------------------> LIVE
 *
 * and any of them goes back to CLOSED at a refetch, the bridge's or our own. While
 * SNAPSHOT and COMPLETE, rows go to the table itself when nobody relies on it
 * (status fetching), to the side table otherwise.
 */
#ifndef REPLICA_CORE_H
#define REPLICA_CORE_H

#include "replica/lane.h"
#include "replica/plain.h"
#include "replica/replica.h"
#include "replica/state.h"
#include "replica/table.h"

struct yyjson_alc;
struct yyjson_doc;
struct yyjson_val;

enum lite_phase { LITE_CLOSED, LITE_SNAPSHOT, LITE_COMPLETE, LITE_STREAMING };

struct lite_feed {
    struct lite_shape *shape;
    enum lite_phase phase;
    bool side;     /* rows go to the side table */
    bool same;     /* the table that is there has this schema's columns */
    bool skip;     /* to be fetched again: what still comes is not applied */
    bool shuffled; /* the snapshot's rows do not come in the key's order */
    bool writable; /* the bridge takes writes to it */
    bool looked;   /* and whether it is captured has been seen to */
    int64_t again; /* clock_ms(): when to see to it again, as it could not be; 0: no need */
    const char *handle;
    const char *lineage; /* or NULL */
    const char *schema_json;
    struct lite_schema schema;
    struct lite_table table;
    struct lite_cell *cells; /* a first row's, while it is read; the table's are the lane's then */
    struct lite_plain plain; /* what its first rows mostly look like */
};

struct lite_row {
    int64_t number;    /* the first key column, where it is an integer */
    struct slice text; /* else */
    size_t seq;        /* place of arrival */
    struct yyjson_val *value;
};

/* Rows of one feed's snapshot: of a line, or all that wait to be sorted, with their texts. */
struct lite_batch {
    struct lite_feed *feed;
    struct lite_row *rows;
    size_t n, cap;
    struct yyjson_doc **docs;
    char **texts;
    size_t ndocs, docs_cap;
    size_t bytes;
};

struct lite_trouble;

struct replica {
    struct lite_db db;
    struct lite_state state;
    struct arena session; /* from one request to the next */
    struct lite_shape *shapes;
    size_t nshapes;
    struct lite_feed *feeds; /* one a shape that was asked for, in the request's order */
    size_t nfeeds;
    struct lite_trouble *troubles;
    struct lite_feed *stuck; /* SQLite refused a row of it: the stream fails */
    uint64_t stuck_lsn;
    int64_t trouble_ms; /* how long a shape is left out; LITE_TROUBLE_MS */
    int64_t retry_at;   /* clock_ms(): then one that is left out is tried again; 0: none is */
    struct buf in;      /* bytes not applied */
    size_t scanned;     /* of them, known to hold no newline */
    struct yyjson_alc *alc;
    struct lite_text text; /* the line that is read, where its rows may outlive it */
    struct lite_batch batch;
    struct lite_lane lane;
    bool streaming;  /* between a request and its end or failure */
    bool changes;    /* the open transaction holds changes since the last commit line */
    bool commit_due; /* the open transaction stands at a commit line */
    bool reconnect;  /* a shape is to be fetched again, which needs a new request */
    bool based;      /* rows have pending local writes (rebase.h) */
    /* local writes (pending.h, acks.h, writes.h) */
    struct buf ack;       /* the last ack line's JSON that waits for its commit line, or empty */
    bool held;            /* acknowledged writes wait for their tables */
    bool forked;          /* another copy of the file has written under our id */
    bool stale;           /* acks of this stream are for the id that was ours before */
    int64_t sent;         /* the bridge has decided up to this id, as it answered */
    size_t asked;         /* writes of the last request */
    int64_t asked_after;  /* ... the first one's id less 1; acks may have come since */
    bool asked_decided;   /* ... or it was what a copy asks (fork.c), whatever is known since */
    bool one_by_one;      /* a request holds one write: several were refused together */
    bool renumber;        /* there may be writes without a number */
    int64_t data_version; /* of the file when writes were last numbered */
    int64_t fork_through, fork_asked; /* seqs that were asked about, and are being */
    bool fork_last;                   /* ... and there are no more */
    size_t txn_rows;
    int64_t txn_started;
    struct replica_progress progress;
};

/* apply.c. `line` is a whole line's object. */
bool lite_apply_line(struct replica *r, struct yyjson_val *line, struct err *err) MUST_CHECK;
/* Stores the position and commits. */
bool lite_apply_flush(struct replica *r, struct err *err) MUST_CHECK;
bool lite_apply_begin(struct replica *r, struct err *err) MUST_CHECK;
/* The shape's rows cannot be trusted any more: to be fetched from the beginning. */
bool lite_apply_refetch(struct replica *r, struct lite_feed *feed, const char *reason,
                        struct err *err) MUST_CHECK;
/* The same for the next request, without ending the stream. */
bool lite_apply_forget(struct replica *r, struct lite_feed *feed, const char *reason,
                       struct err *err) MUST_CHECK;
/* The same, because what came does not fit (trouble.h): at `lsn`, 0 within a snapshot. */
bool lite_apply_misfit(struct replica *r, struct lite_feed *feed, uint64_t lsn, const char *reason,
                       struct err *err) MUST_CHECK;
/* Whether commit lines may share a transaction: stream.c looks ahead. */
bool lite_stream_more_commits(const struct replica *r);
/* The feed that a line speaks of, or NULL with an error. */
struct lite_feed *lite_apply_feed(struct replica *r, struct yyjson_val *index, struct err *err);
/* Waits until no row is on its way; what went wrong with one ends the stream, as in a feed. */
bool lite_stream_settle(struct replica *r, struct err *err) MUST_CHECK;

/* rows.c. Where first rows may come the messages stand in r->text, which is taken away when they
 * do; the batch keeps `*doc` when it sets it to NULL. */
bool lite_rows_apply(struct replica *r, struct lite_feed *feed, struct yyjson_val *messages,
                     struct yyjson_doc **doc, struct err *err) MUST_CHECK;
/* The line in r->text, LITE_PLAIN_PADDING behind it, if it is one of first rows as the bridge
 * writes them; or `*taken` is false, and it is to be parsed. */
bool lite_rows_take(struct replica *r, size_t len, bool *taken, struct err *err) MUST_CHECK;
/* First rows may come in the next line. */
bool lite_rows_expected(const struct replica *r);
/* Whoever has the replica (lane.h) writes a block's rows. */
bool lite_rows_write(struct replica *r, const struct lite_block *block, struct err *err) MUST_CHECK;
/* Until all rows that have come are written. */
bool lite_rows_flush(struct replica *r, struct err *err) MUST_CHECK;
void lite_rows_drop(struct replica *r);
/* There are no more first rows: their memory, and the lane's thread. */
void lite_rows_release(struct replica *r);

#endif
