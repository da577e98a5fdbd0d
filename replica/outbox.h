/*
 * Reads what the triggers wrote into the outbox, in the order of writing, as mutations: the net
 * meaning of each row of it.
 *
 *     'I'   a put of the new row (nothing was there under its key)
 *     'U'   an update: which columns changed from what to what, the key's too. Nothing when none
 *           did.
 *     'D'   a delete of the row that was
 *
 * Local transactions. A reading sees one snapshot, which holds whole transactions alone. Mutations
 * in a row with the same mark other than 0 are one transaction of the program's
 * (capture.h, _tombolo_tx); those with mark 0 are of one or several. Cut what is sent only where
 * the mark changes and at the reading's end: so a transaction is never split, though
 * unmarked ones that are neighbours may be merged.
 *
 *     struct lite_outbox *outbox = lite_outbox_open(db, acked, &err);
 *     while (lite_outbox_next(outbox, &m, &err) && m.table)
 *         ...
 *     lite_outbox_close(outbox);
 *     ...
 *     lite_outbox_forget(db, acked, &err);
 *
 * A mutation and all in it are the outbox's and live until the next call. Nothing may be written
 * to the outbox by the same connection while it is read.
 */
#ifndef REPLICA_OUTBOX_H
#define REPLICA_OUTBOX_H

#include "replica/db.h"
#include "replica/types.h"

enum lite_mutation_op { LITE_PUT, LITE_UPDATE, LITE_DELETE };

struct lite_mutation {
    const char *table; /* its name in SQLite when it was captured; NULL: no more mutations */
    enum lite_mutation_op op;
    int64_t seq;   /* grows */
    int64_t mark;  /* the local transaction's, or 0 */
    int64_t nonce; /* its name, also in a copy of the file */
    size_t ncolumns;
    const char *const *names;        /* of the columns, as when it was captured */
    const int *key;                  /* a column's place in the key, or -1 */
    const struct lite_value *before; /* update, delete: the row that was; else NULL */
    const struct lite_value *after;  /* put, update: the row that is; else NULL */
    const bool *changed;             /* update: which columns; else NULL */
};

struct lite_outbox;

/* Mutations of rows behind `after`. NULL with an error. Where nothing is captured it is empty. */
struct lite_outbox *lite_outbox_open(struct lite_db *db, int64_t after, struct err *err);
/* The next one; `m->table` is NULL at the end. */
bool lite_outbox_next(struct lite_outbox *outbox, struct lite_mutation *m,
                      struct err *err) MUST_CHECK;
/* The seq of the last row looked at, with those that mean nothing: at the end, what the
 * reading covers. */
int64_t lite_outbox_through(const struct lite_outbox *outbox);
/* NULL is fine. */
void lite_outbox_close(struct lite_outbox *outbox);

/* Drops rows up to `through`, and marks and layouts that nothing refers to. */
bool lite_outbox_forget(struct lite_db *db, int64_t through, struct err *err) MUST_CHECK;

/* Whether both are the same value of the same storage class; REALs by their bits. */
bool lite_value_same(const struct lite_value *a, const struct lite_value *b);

#endif
