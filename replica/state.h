/*
 * The tables _tombolo_*: what the replica must know when it is started again.
 *
 *     _tombolo_state    one row: the replica's id, its position and whether the
 *                       tables are consistent there, who syncs it; how far its writes are
 *     _tombolo_shapes   a row a shape: what was asked for, handle, offset, status
 *     _tombolo_columns  a row a column: the Postgres type behind each
 *
 * They are written in the transactions that write the rows they speak of.
 */
#ifndef REPLICA_STATE_H
#define REPLICA_STATE_H

#include "replica/db.h"
#include "replica/schema.h"

#define LITE_SIDE_PREFIX "_tombolo_new_"

enum lite_status {
    LITE_FETCHING,   /* the table holds part of a first snapshot, or nothing */
    LITE_LIVE,       /* the table is right as of the shape's offset */
    LITE_REFETCHING, /* the table is right as of some earlier time; new rows gather at the side */
};

struct lite_state {
    char replica[40];
    uint64_t position;
    bool consistent;
    int64_t at;           /* wall clock of the last commit in Postgres, microseconds; 0 unknown */
    int64_t applied_at;   /* when something was last heard and stored */
    char family[40];      /* the file's first id, which copies of it share */
    int64_t write_last;   /* the last id that a write was given; 0: none */
    int64_t write_acked;  /* up to here Postgres has decided, as the stream says */
    char write_nonce[40]; /* of that write, or "" */
    int64_t contact;      /* wall clock: what was decided of our writes before then is known here */
};

/* Reasons that are asked for. The first: the table that is there has rows of what the shape was
 * before. The second begins one: its local writes wait. */
#define LITE_REDEFINED "its definition has changed"
#define LITE_GONE "the bridge does not have it now"

struct lite_shape {
    int64_t id;
    const char *name;           /* the bridge defines it, or NULL */
    const char *schema, *table; /* in Postgres; of a shape by name as the stream told them */
    const char *local;          /* in SQLite */
    const char *where;          /* NULL: all rows */
    const char *params;         /* a JSON object, or NULL */
    const char *columns;        /* a JSON array, or NULL: all */
    const char *handle;         /* NULL: fetch from the beginning */
    const char *lineage;        /* what the bridge said with the handle, for another one; or NULL */
    uint64_t offset;
    enum lite_status status;
    const char
        *reason; /* why it is fetched again, or NULL; LITE_REDEFINED, LITE_GONE among others */
    const char *schema_json; /* of the table that is there, or NULL */
    /* Of a table that is fetched again: what its rows are still of, NULL: unknown; gap.h */
    const char *stood_handle;
    uint64_t stood_offset;
    bool gap;
    const char *kept; /* why local writes are not captured though they may go up, or NULL */
};

/* Creates what is missing, reads the row, writes the lease. */
bool lite_state_open(struct lite_db *db, struct lite_state *state, struct err *err) MUST_CHECK;
/* Reads the row again, after a transaction that changed it was rolled back. */
bool lite_state_read(struct lite_db *db, struct lite_state *state, struct err *err) MUST_CHECK;
/* Clears the lease; best effort. */
void lite_state_close(struct lite_db *db);
/* Inside a transaction. */
bool lite_state_save(struct lite_db *db, const struct lite_state *state,
                     struct err *err) MUST_CHECK;

/* How far the writes are, and the id; inside a transaction. */
bool lite_state_save_writes(struct lite_db *db, const struct lite_state *state,
                            struct err *err) MUST_CHECK;
/* 32 hex digits made at random. */
bool lite_random_name(char out[40], struct err *err) MUST_CHECK;

/* The shape's offset alone; inside a transaction. */
bool lite_offset_save(struct lite_db *db, const struct lite_shape *shape,
                      struct err *err) MUST_CHECK;

/* All shapes by id; everything is in the arena. */
bool lite_shapes_load(struct lite_db *db, struct arena *arena, struct lite_shape **shapes,
                      size_t *n, struct err *err) MUST_CHECK;
/* Adds (id 0: the new id is set) or overwrites. */
bool lite_shape_save(struct lite_db *db, struct lite_shape *shape, struct err *err) MUST_CHECK;
/* Forgets the shape, and drops its table and what is at its side. */
bool lite_shape_drop(struct lite_db *db, const struct lite_shape *shape,
                     struct err *err) MUST_CHECK;
bool lite_columns_save(struct lite_db *db, const char *local, const struct lite_schema *schema,
                       struct err *err) MUST_CHECK;

const char *lite_status_text(enum lite_status status);

#endif
