/*
 * Shapes whose rows cannot be applied, or cannot be had. Each is tried again in ways that cost more
 * and more, and at last left out for a while, so that the others go on:
 *
 *     what came does not fit   1st time  its rows are fetched again: somebody wrote to the table
 *                              2nd       the bridge is told that its handle is refused, and why
 *                              3rd on    left out
 *     SQLite refuses a row     left out at once: a constraint, a trigger or a column of the user's
 *                              has to be looked at here
 *     the bridge has it no     left out at once, for a second and then for longer and longer: its
 *     more, as it once had     table may be in the middle of a migration
 *
 * "Again" is a failure before the shape has got past the one before. All of it is in memory: a
 * replica that is opened anew tries everything at once. The reason is in the file, for its status.
 */
#ifndef REPLICA_TROUBLE_H
#define REPLICA_TROUBLE_H

#include "replica/core.h"

#define LITE_TROUBLE_MS 300000  /* how long a shape is left out */
#define LITE_GONE_MOST_MS 30000 /* at most, where it is the bridge that does not have it */

struct lite_trouble {
    struct lite_trouble *next;
    int64_t shape;     /* its id */
    unsigned failures; /* in a row */
    uint64_t past;     /* over when a commit at or behind this has been applied */
    int64_t again_at;  /* clock_ms(); left out until then. 0: not left out */
    int64_t gone_ms;   /* it was not there, and waited for so long; 0: it was there */
    char *handle;      /* that was refused; NULL: it is not the handle's fault. Owned */
    char *reason;      /* owned */
};

/* The shape's, or NULL. */
struct lite_trouble *lite_trouble_of(const struct replica *r, int64_t shape);
/* Left out for the time being; NULL is not. */
bool lite_trouble_waits(const struct lite_trouble *trouble);
/* What the next request says of the handle, or NULL: nothing. */
const char *lite_trouble_refusal(const struct lite_trouble *trouble);

/* What came for the shape does not fit. Returns what its status is to say; in the session's arena.
 */
const char *lite_trouble_misfit(struct replica *r, const struct lite_feed *feed, uint64_t lsn,
                                const char *reason);
/* SQLite refused a row of r->stuck, and all was rolled back: `err` becomes one that a new request
 * helps against. */
void lite_trouble_stuck(struct replica *r, struct err *err);
/* The bridge has served it to this file, as it is asked for now. */
bool lite_trouble_was_served(const struct lite_feed *feed);
/* It does not now, and says why. Outside of a transaction. */
void lite_trouble_gone(struct replica *r, const struct lite_feed *feed, const char *why);
/* A commit is being applied: what its shapes have got past is forgotten. */
bool lite_trouble_pass(struct replica *r, uint64_t lsn, struct err *err) MUST_CHECK;
/* How many shapes are left out or being tried again. */
size_t lite_trouble_count(const struct replica *r);
/* How many are left out, and when the first of them is to be tried again. */
size_t lite_trouble_waiting(const struct replica *r, int64_t *again_at);
/* Why a new request is needed, always false: a table that is left out, or `otherwise`. */
bool lite_trouble_err(const struct replica *r, const char *otherwise, struct err *err);
void lite_trouble_forget(struct replica *r);

#endif
